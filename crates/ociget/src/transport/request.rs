//! A request.

use http::Method;
use http::header::HeaderValue;
use url::Url;

use crate::endpoint::Endpoint;

/// A request, and on whose behalf it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// The registry on whose behalf this is sent.
    pub(crate) home: &'a Endpoint,
    pub(crate) accept: Option<&'static str>,
    pub(crate) authorization: Option<HeaderValue>,
    /// Start of the requested range; 0 without an end requests everything, without `Range`.
    pub(crate) from: u64,
    /// One past the last requested byte; the end of the blob if there is none.
    pub(crate) until: Option<u64>,
    /// The body of a POST.
    pub(crate) form: Option<String>,
}

impl<'a> Request<'a> {
    pub(crate) fn get(url: Url, home: &'a Endpoint) -> Self {
        Self {
            method: Method::GET,
            url,
            home,
            accept: None,
            authorization: None,
            from: 0,
            until: None,
            form: None,
        }
    }
}
