//! Several futures at a time, within one task.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Runs `futures`, at most `limit` of them concurrently, and returns what they return, in no order.
///
/// # Errors
/// Returns the first error, and drops the futures that are not finished.
pub(super) async fn all<F, T, E>(
    limit: usize,
    futures: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = futures.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    let mut done = Vec::new();
    poll_fn(|context| {
        loop {
            let room = limit.saturating_sub(running.len());
            running.extend(waiting.by_ref().take(room).map(Box::pin));
            let before = done.len();
            let mut at = 0;
            while let Some(future) = running.get_mut(at) {
                match future.as_mut().poll(context) {
                    Poll::Ready(Ok(value)) => {
                        done.push(value);
                        drop(running.swap_remove(at));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => at += 1,
                }
            }
            if running.is_empty() && done.len() == before {
                return Poll::Ready(Ok(std::mem::take(&mut done)));
            }
            if done.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn futures_run_up_to_the_limit_and_end_at_error() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let work = |number: u32, fails: bool| {
            let (now, most) = (&now, &most);
            async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::task::yield_now().await;
                now.set(now.get() - 1);
                if fails { Err(number) } else { Ok(number) }
            }
        };
        let mut done = all(3, (0..10).map(|number| work(number, false)))
            .await
            .unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..10).collect::<Vec<_>>());
        assert_eq!(most.get(), 3);
        assert_eq!(
            all(3, (0..10).map(|number| work(number, number == 4))).await,
            Err(4)
        );
        assert_eq!(
            all(3, (0..0).map(|number| work(number, true))).await,
            Ok(Vec::new())
        );
    }
}
