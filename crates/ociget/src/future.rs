//! Futures behind a pointer.

/// The return type of an object-safe trait's asynchronous functions.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
