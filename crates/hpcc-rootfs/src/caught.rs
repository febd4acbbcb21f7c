//! Work whose panics are errors for the code that waits.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use ociget::background;

use crate::error::Error;
use crate::panics::Panic;

/// Runs `work` on a thread that may block. If the future is dropped, the work goes on.
///
/// # Errors
/// Returns an error if no thread can be started, or if `work` panics.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let caught = background::run(move || catch_unwind(AssertUnwindSafe(work))).await;
    let caught = caught.map_err(Error::worker)?;
    caught.map_err(|payload| Error::panicked("the build thread", Panic::new(payload)))
}

/// Drives `work`, and returns a panic of it as an error. Nothing of it is polled again.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut work = pin!(work);
    let polled = poll_fn(|context| {
        let poll = || work.as_mut().poll(context);
        catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|payload| {
            Poll::Ready(Err(Error::panicked("the build", Panic::new(payload))))
        })
    });
    polled.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panics;

    #[tokio::test]
    async fn panics_are_errors_with_their_texts() {
        let thread = blocking(|| panics::call(|| panic!("one {}", 1)));
        let error = thread.await.unwrap_err();
        assert_eq!(error.to_string(), "the caller's callback panicked: one 1");
        let task = caught::<()>(async {
            tokio::task::yield_now().await;
            panic!("two")
        });
        let error = task.await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(source, "it panicked: two");
        assert_eq!(blocking(|| 3).await.unwrap(), 3);
    }
}
