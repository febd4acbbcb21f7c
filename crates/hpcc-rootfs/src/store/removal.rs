//! Removes artifacts that a caller names, with the files that belong to them.

use std::cell::OnceCell;

use ociget::Digest;

use super::handle::Store;
use super::note_lock::NoteLock;
use super::{entry, name, tags};
use crate::error::Error;

impl Store {
    /// Removes an artifact. A VM that has it open keeps the file. Returns whether the artifact existed; a missing one
    /// is not an error.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the file cannot be removed.
    pub fn untag_image(&self, digest: &Digest) -> Result<bool, Error> {
        let mut outcomes = self.untag_images(std::slice::from_ref(digest));
        outcomes.pop().unwrap_or(Ok(false))
    }

    /// Removes artifacts as [`untag_image`](Self::untag_image) does, and returns the outcome of each, in their order. The
    /// notes of the store are read once for all of them.
    pub fn untag_images(&self, digests: &[Digest]) -> Vec<Result<bool, Error>> {
        let outcomes: Vec<_> = digests.iter().map(|digest| self.remove(digest)).collect();
        let (directory, trust) = (self.directory(), self.trust());
        let all_needed = OnceCell::new();
        let gone = digests.iter().zip(&outcomes);
        for (digest, _) in gone.filter(|(_, outcome)| matches!(outcome, Ok(Some(_)))) {
            // Without a reference, no note has to stay, and no other note has to be read to decide that.
            let is_needless = || {
                let needed = || tags::needed(directory, trust, entry::gone).ok();
                let needed = all_needed.get_or_init(needed);
                needed
                    .as_ref()
                    .is_some_and(|needed| !needed.contains(digest))
            };
            let references = tags::references(directory, digest, trust);
            if references.is_ok_and(|references| references.is_empty()) || is_needless() {
                let _lock = NoteLock::take(directory, trust);
                // Another process may have published the artifact again and noted a tag since.
                if entry::gone(&self.path_for(digest)).unwrap_or(false) {
                    let _ = entry::remove(&directory.join(name::note(digest)));
                }
            }
        }
        let existed = |existed: Option<bool>| existed.unwrap_or(false);
        let outcomes = outcomes.into_iter();
        outcomes.map(|outcome| outcome.map(existed)).collect()
    }

    /// Removes an artifact, and all that belongs to it except for its note. Returns whether it existed, or `None` if there
    /// is no store.
    fn remove(&self, digest: &Digest) -> Result<Option<bool>, Error> {
        let _span = tracing::info_span!("untag_image", %digest).entered();
        let path = self.path_for(digest);
        if !self.is_made("remove an artifact from")? {
            return Ok(None);
        }
        let directory = self.directory();
        tags::settle(directory, digest, self.trust());
        let removed = entry::remove(&path)
            .map_err(|error| Error::store("remove the artifact", &path, error))?;
        // A later sweep removes the ones that remain.
        let _ = entry::remove(&directory.join(name::recall(digest)));
        Ok(Some(removed))
    }
}
