//! Pulls without the network: a tag refers to the artifact that it was last pulled to, and an empty source takes the
//! place of the registry.

use ociget::{
    BlobStream, BoxFuture, Descriptor, Digest, Document, Image, Request, Source, SourceSpec,
};

use super::full_reference::full_reference;
use super::handle::Store;
use super::trials::Trials;
use crate::error::Error;
use crate::error::kind::ErrorKind;
use crate::progress::ImageLayer;
use crate::recall::Plan;

/// The substitute for a registry to which no request may be sent.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Nowhere {
    fn lacks<T>(what: String) -> BoxFuture<'static, Result<T, ociget::Error>>
    where
        T: Send + 'static,
    {
        Box::pin(async {
            Err(ociget::Error::Absent {
                at: "the store".to_owned(),
                what,
                available: "nothing else of the image".to_owned(),
            })
        })
    }
}

impl Source for Nowhere {
    fn root<'a>(
        &'a self,
        expected: Option<&'a Digest>,
    ) -> BoxFuture<'a, Result<Document, ociget::Error>> {
        Self::lacks(match expected {
            Some(digest) => format!("the manifest {digest}"),
            None => "the manifest".to_owned(),
        })
    }

    fn manifest<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<Document, ociget::Error>> {
        Self::lacks(format!("the manifest {}", descriptor.digest))
    }

    fn blob<'a>(
        &'a self,
        descriptor: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobStream, ociget::Error>> {
        Self::lacks(format!("the layer {}", descriptor.digest))
    }
}

impl Store {
    /// Returns whether the image must not be requested from its registry.
    pub(super) fn is_offline(&self, spec: &SourceSpec) -> bool {
        self.options().store.offline && matches!(spec, SourceSpec::Registry(_))
    }

    /// Returns the request pinned to the digest that its tag was last pulled to. This is disk work.
    ///
    /// # Errors
    /// Returns [`Error::Offline`] if the tag was never pulled to an artifact that still exists.
    pub(super) fn pinned_offline(&self, image: &str, request: Request) -> Result<Request, Error> {
        if request.pin().is_some() {
            return Ok(request);
        }
        let full = full_reference(image);
        let found = match &full {
            Some(full) => self.pulled_by(&full.text)?,
            None => Vec::new(),
        };
        let problem = match found.as_slice() {
            [digest] => return Ok(Request::new(request.spec().clone(), Some(digest))?),
            [] => "no artifact in the store was pulled by this reference".to_owned(),
            [_, ..] => {
                let all: Vec<_> = found.iter().map(ToString::to_string).collect();
                format!(
                    "nothing tells which artifact it was pulled to last, {}; name a digest",
                    all.join(" or ")
                )
            }
        };
        Err(offline(image, problem))
    }
}

/// Makes the error of a pull that would have needed the registry.
pub(super) fn refused(image: &str, error: Error, is_reusing: bool) -> Error {
    match error.of_source() {
        Some(ociget::Error::Absent { what, .. }) if !is_reusing => {
            let problem = format!("StoreOptions::reuse forbids to take {what} from the store");
            offline(image, problem)
        }
        Some(ociget::Error::Absent { what, .. }) => lacking(image, what),
        _ => error,
    }
}

/// Makes the error of a build that sends no request and could not copy every layer: which layer, and what was tried.
pub(super) fn unavailable(
    text: &str,
    image: &Image,
    error: Error,
    plan: Option<&Plan>,
    trials: &Trials,
) -> Error {
    let problem = match &error {
        Error::Layer { layer, source } => {
            let index = layer.index;
            let ociget::Error::Absent { .. } = &**source else {
                return error;
            };
            let Some(layer) = ImageLayer::of(image, index) else {
                return error;
            };
            let because = match plan {
                Some(plan) if plan.knows(index) => {
                    "every artifact that knows it lacks files which the image needs of it"
                }
                _ => "no artifact from which it can be copied knows it",
            };
            format!("the store does not hold {layer}, and {because}")
        }
        // Others are those of the image, which a build that fetches its layers would have as well.
        _ if matches!(error.kind(), ErrorKind::Io | ErrorKind::Internal) && error.is_of_reuse() => {
            let causes =
                std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            format!("its layers cannot be copied from artifacts of the store: {error}{causes}")
        }
        _ => return error,
    };
    offline(
        text,
        match trials.problems() {
            Some(problems) => format!("{problem} ({problems})"),
            None => problem,
        },
    )
}

/// Makes the error of a pull for which the store lacks something.
pub(super) fn lacking(image: &str, what: &str) -> Error {
    offline(image, format!("the store does not hold {what}"))
}

fn offline(image: &str, problem: String) -> Error {
    Error::Offline {
        image: image.to_owned(),
        problem,
    }
}
