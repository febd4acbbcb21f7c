//! What a panic said, and whether a callback of the caller had it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

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

fn text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "without a text".to_owned()
    }
}
