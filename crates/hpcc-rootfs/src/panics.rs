//! What a panic said, and whether a callback of the caller had it.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use ociget::{BoxFuture, Credentials, Login};

/// What a caught panic is.
pub(crate) type Payload = Box<dyn Any + Send>;

/// The panic of a callback, on its way to the code that waits for the work.
struct OfCallback(String);

/// A panic as text.
#[derive(Debug)]
pub(crate) struct Panic {
    pub(crate) text: String,
    /// Whether it happened in a callback of the caller.
    pub(crate) is_of_callback: bool,
}

impl Panic {
    pub(crate) fn new(payload: Payload) -> Self {
        match payload.downcast::<OfCallback>() {
            Ok(callback) => Self {
                text: callback.0,
                is_of_callback: true,
            },
            Err(payload) => Self {
                text: text(&*payload),
                is_of_callback: false,
            },
        }
    }
}

/// Calls a callback of the caller, so that a panic in it is known as one.
pub(crate) fn call<T>(callback: impl FnOnce() -> T) -> T {
    let called = catch_unwind(AssertUnwindSafe(callback));
    called.unwrap_or_else(|payload| resume_unwind(Box::new(OfCallback(text(&*payload)))))
}

/// Credentials of the caller, so that a panic in them is known as one of a callback.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) Arc<dyn Credentials>);

impl Credentials for Guarded {
    fn login<'a>(
        &'a self,
        registry: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Login, ociget::Error>> {
        let mut login = call(|| self.0.login(registry, repository));
        Box::pin(poll_fn(move |context| {
            call(|| login.as_mut().poll(context))
        }))
    }
}

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// Credentials that panic when they are called, or when their future is polled.
    #[derive(Debug)]
    struct Panicking {
        is_late: bool,
    }

    impl Credentials for Panicking {
        fn login<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Login, ociget::Error>> {
            assert!(self.is_late, "no vault");
            Box::pin(async { panic!("no vault") })
        }
    }

    #[test]
    fn panic_of_credentials_is_one_of_a_callback() {
        for is_late in [false, true] {
            let guarded = Guarded(Arc::new(Panicking { is_late }));
            let login = || {
                let mut login = guarded.login("registry", "repository");
                let polled = login.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                polled.is_ready()
            };
            let panic = Panic::new(catch_unwind(AssertUnwindSafe(login)).unwrap_err());
            assert!(panic.is_of_callback, "{panic:?}");
            assert_eq!(panic.text, "no vault");
        }
    }
}
