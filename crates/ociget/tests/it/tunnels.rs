//! Proxies that refuse a tunnel.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure here is a failed test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use ociget::{Client, Error, Options, Proxies, SourceSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{pull, quick};

/// The error of a pull through a proxy that answers with `answer` after `pause` and then stays open, and the number of
/// connections to it.
async fn refused(answer: &'static str, pause: Duration, options: Options) -> (Error, u32) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://ada:wrong@{}", listener.local_addr().unwrap());
    let count = Arc::<AtomicU32>::default();
    let counted = Arc::clone(&count);
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, SeqCst);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                tokio::time::sleep(pause).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            });
        }
    });
    let mut options = options;
    options.proxies = Proxies::all(&proxy, "").unwrap();
    let spec: SourceSpec = "reg.example/app:v1".parse().unwrap();
    let source = spec.open(&Client::new(options).unwrap()).unwrap();
    let error = pull(&*source).await.unwrap_err();
    serving.abort();
    (error, count.load(SeqCst))
}

// samuong/alpaca#2
#[tokio::test]
async fn refusal_of_a_login_that_comes_late_is_final() {
    // Words are waited for two seconds, which are no longer left; a busy machine may take most of them.
    let case = async |answer| {
        let mut options = quick();
        options.connect_timeout = Duration::from_secs(5);
        options.stall_timeout = Duration::from_secs(20);
        options.retries = 3;
        let (error, connections) = refused(answer, Duration::from_millis(3200), options).await;
        let Error::Proxy { status, .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!((*status, connections), (Some(407), 1), "{error}");
    };
    tokio::join!(
        case("HTTP/1.1 407 X\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"),
        case("HTTP/1.1 407 X\r\nContent-Length: 100\r\n\r\nwords"),
    );
}

#[tokio::test]
async fn redirect_of_a_tunnel_is_reported_with_its_host() {
    let answer = "HTTP/1.1 302 X\r\nLocation: https://portal.example:8443/login?for=x\r\nContent-Length: 0\r\n\r\n";
    let (error, connections) = refused(answer, Duration::ZERO, quick()).await;
    let text = error.to_string();
    assert!(
        text.contains("the proxy redirects to portal.example:8443,"),
        "{text}"
    );
    assert!(!error.is_transient() && connections == 1, "{text}");
}

// httpwg/http-extensions#2717
#[tokio::test]
async fn informational_answers_before_that_to_a_tunnel_are_passed_over() {
    for before in [
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 X\r\nLink: </style.css>\r\n\r\nHTTP/1.1 102 X\r\n\r\n",
        "HTTP/1.1 199 X\n\n",
    ] {
        for (last, expected, is_transient) in [
            ("HTTP/1.1 403 X\r\n\r\n", Some(403), false),
            ("HTTP/1.1 503 X\r\n\r\n", Some(503), true),
            ("HTTP/1.1 101 X\r\n\r\n", Some(101), false),
            // The tunnel is open, and an answer in clear is no handshake.
            ("HTTP/1.1 200 X\r\n\r\nHTTP/1.1 400 X", None, true),
        ] {
            let answer: &'static str = format!("{before}{last}").leak();
            let (error, _) = refused(answer, Duration::ZERO, quick()).await;
            let text = error.to_string();
            let Error::Proxy { status, .. } = &error else {
                panic!("{answer:?}: {error:?}");
            };
            assert_eq!(
                (*status, error.is_transient()),
                (expected, is_transient),
                "{answer:?}: {text}"
            );
        }
    }
    let endless: &'static str = "HTTP/1.1 100 X\r\n\r\n".repeat(4000).leak();
    let (error, _) = refused(endless, Duration::ZERO, quick()).await;
    let text = error.to_string();
    assert!(text.contains("has more than 64 KiB"), "{text}");
}
