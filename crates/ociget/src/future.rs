//! Futures behind a pointer.

/// What an object-safe trait's asynchronous functions return.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
