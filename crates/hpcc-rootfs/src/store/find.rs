//! Finds an artifact by the names that people use: its digest, the start of its digest, or the reference that it was
//! pulled by.

use std::collections::BTreeSet;
use std::time::SystemTime;

use ociget::Digest;

use super::full_reference::full_reference;
use super::handle::Store;
use super::note::{self, Note};
use super::note_lock::NoteLock;
use super::trust::Fault;
use super::{entry, notice, tags};
use crate::candidate::Candidate;
use crate::error::Error;

/// Hex digits that the start of a digest must have at least. Six of them are practically unique in a store of thousands
/// of artifacts, and hardly any word consists of six hex digits.
const PREFIX_MIN: usize = 6;

/// Names that mean an algorithm before a colon, not an image with a tag.
const ALGORITHMS: [&str; 7] = [
    "sha256", "sha512", "md5", "sha1", "sha224", "sha384", "blake3",
];

/// The form of a name.
#[derive(Debug, PartialEq, Eq)]
enum Form<'t> {
    /// A whole digest.
    Whole(Digest),
    /// An algorithm, if the name has one, and the first hex digits.
    Start(Option<&'t str>, &'t str),
    Other,
}

impl Form<'_> {
    /// Returns the form of a name, or the reason why it is a mistyped digest.
    fn of(text: &str) -> Result<Form<'_>, String> {
        let is_hex = |text: &str| {
            let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            text.bytes().all(digit)
        };
        let named = text.split_once(':');
        let named = named.filter(|(algorithm, _)| {
            let mut names = ALGORITHMS.iter();
            names.any(|name| name.eq_ignore_ascii_case(algorithm))
        });
        let Some((algorithm, hex)) = named else {
            return Ok(match text.len() >= PREFIX_MIN && is_hex(text) {
                true => Form::Start(None, text),
                false => Form::Other,
            });
        };
        if let Ok(digest) = text.parse() {
            return Ok(Form::Whole(digest));
        }
        let whole = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return Err("expected a digest that begins with sha256: or sha512:".to_owned()),
        };
        if !is_hex(hex) || hex.len() > whole {
            return Err(format!(
                "expected {algorithm}: and up to {whole} digits 0 to 9 and a to f"
            ));
        }
        if hex.len() < PREFIX_MIN {
            return Err(format!(
                "found {} hex digits, expected at least {PREFIX_MIN}",
                hex.len()
            ));
        }
        Ok(Form::Start(Some(algorithm), hex))
    }
}

fn form(name: &str) -> Result<Form<'_>, Error> {
    Form::of(name).map_err(|problem| Error::Name {
        name: name.to_owned(),
        problem,
    })
}

impl Store {
    /// Refuses names that no artifact can have, without reading any store.
    ///
    /// # Errors
    /// Returns [`Error::Name`] if `name` is a mistyped digest or has less than 6 digits of one.
    pub fn check_name(name: &str) -> Result<(), Error> {
        form(name).map(drop)
    }

    /// Returns the digest of the artifact with the name `name`, or `None` if the store has no such artifact.
    ///
    /// | name | artifact |
    /// |---|---|
    /// | `sha256:<64 hex digits>` | the one with this digest; returned whether or not it exists |
    /// | `sha256:<6 to 63 hex digits>`, `<6 or more hex digits>` | the one whose digest begins so |
    /// | `debian:12`, `ghcr.io/team/app`, `oci:DIR:TAG` | the one that this reference was last pulled to |
    /// | `debian@sha256:<64 hex digits>` | the one with this digest |
    ///
    /// References are compared in their full form: `debian` is `docker.io/library/debian:latest`, and `oci:./dir/:v1` is
    /// the `oci:` of the absolute path of `dir`. Symlinks in paths are not resolved. A reference that was
    /// pulled to several artifacts, one after the other, is the name of the last one, even after that one was removed.
    ///
    /// # Errors
    /// Returns [`Error::Name`] if `name` is a mistyped digest or has fewer than 6 digits of one, [`Error::Ambiguous`]
    /// if several artifacts have the name, [`Error::Gone`] if the artifact that a reference was last pulled to is no
    /// longer in the store but its note is, [`Error::Untrusted`] if only files of other users have a digest that begins
    /// so, and the errors of [`existing_images`](Self::existing_images).
    pub fn find(&self, name: &str) -> Result<Option<Digest>, Error> {
        let form = form(name)?;
        let mut found = BTreeSet::new();
        let mut untrusted = None;
        match form {
            Form::Whole(digest) => return Ok(Some(digest)),
            Form::Start(algorithm, start) => {
                let all = self.digests()?.into_iter();
                let matching = all.filter(|digest| {
                    let same = algorithm.is_none_or(|name| digest.algorithm().as_str() == name);
                    same && digest.hex().starts_with(start)
                });
                for digest in matching {
                    match self.trust().named(&self.path_for(&digest)) {
                        // In a sticky store, another user can add any name. It must neither be the answer nor hide it.
                        Err(Fault::Untrusted(fault)) => untrusted = Some(fault),
                        // The command that uses the artifact reports what else is wrong with it.
                        Ok(()) | Err(Fault::Io(_)) => {
                            found.insert(digest);
                        }
                    }
                }
            }
            Form::Other => {}
        }
        // A name with an algorithm is never a reference, although the grammar allows it.
        if !matches!(form, Form::Start(Some(_), _))
            && let Some(reference) = full_reference(name)
        {
            if let Some(digest) = reference.digest {
                return Ok(Some(digest));
            }
            match self.pulled_by(&reference.text)?.as_slice() {
                // The reference does not mean an older artifact.
                [digest] if !self.holds(digest)? => {
                    if found.is_empty() {
                        return Err(Error::Gone {
                            name: name.to_owned(),
                            digest: digest.clone(),
                        });
                    }
                }
                pulled => found.extend(pulled.iter().cloned()),
            }
        }
        if found.len() > 1 {
            let candidates = found.into_iter().map(|digest| Candidate {
                source: self.source_of(&digest),
                digest,
            });
            return Err(Error::Ambiguous {
                name: name.to_owned(),
                candidates: candidates.collect(),
            });
        }
        match (found.pop_first(), untrusted) {
            (None, Some(fault)) => Err(Error::Untrusted(fault)),
            (digest, _) => Ok(digest),
        }
    }
}

impl Store {
    /// Returns the digests that a reference was last pulled to: one, or several if their order is unknown. Their
    /// artifacts may have been removed.
    pub(super) fn pulled_by(&self, reference: &str) -> Result<Vec<Digest>, Error> {
        if !self.is_made("list the store")? {
            return Ok(Vec::new());
        }
        tags::last(self.directory(), reference, self.trust())
    }

    /// Returns the reference of the last pull to an artifact, as far as its note tells.
    pub(super) fn source_of(&self, digest: &Digest) -> Option<String> {
        let note = Note::read(self.directory(), digest, self.trust());
        note.ok().and_then(|note| note.source)
    }

    /// Returns whether the store has an artifact, intact or not.
    pub(super) fn holds(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.path_for(digest);
        let gone = entry::gone(&path).map_err(|source| Error::store("look at", &path, source))?;
        Ok(!gone)
    }

    /// Notes which artifact a reference without a digest was pulled to. The time is later than that of every earlier pull,
    /// because the clock may have been set back since, and no other reference of the artifact has it. If that cannot be
    /// noted, no other artifact keeps the reference.
    ///
    /// Reads one note if the last pull was to the same artifact, however many the store has.
    pub(super) fn remember(&self, image: &str, digest: &Digest) {
        let Some(reference) = full_reference(image) else {
            return;
        };
        let (directory, trust) = (self.directory(), self.trust());
        let _lock = NoteLock::take(directory, trust);
        let reference = reference.text;
        let noted = Note::read(directory, digest, trust).and_then(|mut note| {
            let newest = match note.settled(&reference) {
                Some(time) => time,
                None => tags::take_over(directory, &reference, digest, trust),
            };
            let now = note::milliseconds(SystemTime::now());
            let time = note.free_time(&reference, now.max(newest.saturating_add(1)));
            let gone = note.add(&reference, time);
            note.try_write(directory, digest).map(|()| gone)
        });
        let error = match noted {
            Ok(gone) => {
                for (reference, time) in gone {
                    tags::forget(directory, &reference, time, trust);
                }
                return;
            }
            Err(error) => error,
        };
        for older in tags::holders(directory, &reference, trust) {
            if older != *digest && tags::disown(directory, &reference, &older, trust).is_err() {
                notice::stale(&reference, digest, &older, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::store::name;

    /// A store in which a tag was pulled to an image, at a time in milliseconds since 1970.
    fn store(reference: &str, image: &Digest, time: u64) -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Options::default()).unwrap();
        let mut note = Note::default();
        let full = full_reference(reference).unwrap();
        note.add(&full.text, time);
        note.write(directory.path(), image);
        std::fs::write(store.path_for(image), "").unwrap();
        (directory, store)
    }

    #[test]
    fn tag_stands_for_the_last_pull_whatever_the_clock() {
        let [old, new] = [b"old", b"new"].map(|image| Digest::of(image));
        let now = note::milliseconds(SystemTime::now());
        for time in [1, now - 1, now + 86_400_000, u64::MAX - 9] {
            let (_directory, store) = store("h/app:t", &old, time);
            std::fs::write(store.path_for(&new), "").unwrap();
            for image in [&new, &old, &new] {
                store.remember("h/app:t", image);
                let found = store.find("h/app:t").unwrap();
                assert_eq!(found.as_ref(), Some(image), "{time}");
            }
        }
    }

    /// Returns the names of the notes that are opened while `work` runs.
    fn opened(directory: &std::path::Path, work: impl FnOnce()) -> Vec<String> {
        use rustix::fs::inotify;
        let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&watcher, directory, inotify::WatchFlags::OPEN).unwrap();
        work();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 65536];
        let mut events = inotify::Reader::new(&watcher, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = events.next() {
            let name = event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            names.extend(name.filter(|name| name.starts_with(".note-")));
        }
        names
    }

    #[test]
    fn pull_of_a_known_tag_reads_its_own_note_alone() {
        let [old, new] = [b"old", b"new"].map(|image| Digest::of(image));
        let (directory, store) = store("h/app:t", &old, 1);
        let read = |image: &Digest| opened(directory.path(), || store.remember("h/app:t", image));
        assert_eq!(read(&old), [name::note(&old)]);
        // It moves, and moves back: then all notes are read.
        assert!(read(&new).contains(&name::note(&old)));
        assert_eq!(read(&new), [name::note(&new)]);
        assert!(read(&old).contains(&name::note(&new)));
        assert_eq!(read(&old), [name::note(&old)]);
        assert_eq!(store.find("h/app:t").unwrap().as_ref(), Some(&old));
    }

    #[test]
    fn tag_that_cannot_be_noted_stands_for_no_older_image() {
        let [oldest, old, new] = ["oldest", "old", "new"].map(|image| Digest::of(image.as_bytes()));
        let (directory, store) = store("h/app:t", &oldest, 1);
        std::fs::write(store.path_for(&old), "").unwrap();
        store.remember("h/app:t", &old);
        store.remember("h/app:other", &old);
        // No note can replace a directory.
        std::fs::create_dir(directory.path().join(name::note(&new))).unwrap();
        store.remember("h/app:t", &new);
        assert_eq!(store.find("h/app:t").unwrap(), None);
        let other = store.find("h/app:other").unwrap();
        assert_eq!(other.as_ref(), Some(&old));
    }

    #[test]
    fn concurrent_pulls_keep_all_their_references() {
        let directory = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"image");
        let stores = [(); 2].map(|()| Store::open(&directory, Options::default()).unwrap());
        std::thread::scope(|scope| {
            for number in 0..32 {
                let (store, digest) = (&stores[number % 2], &digest);
                scope.spawn(move || {
                    store.remember(&format!("localhost:5000/app{number}:v1"), digest);
                    tags::settle(store.directory(), digest, store.trust());
                });
            }
        });
        let note = Note::read(directory.path(), &digest, stores[0].trust()).unwrap();
        assert_eq!(note.references.unwrap().len(), 32);
    }

    #[test]
    fn mistyped_digest_is_no_other_name() {
        let digest = Digest::of(b"image");
        let text = digest.to_string();
        assert_eq!(Form::of(&text), Ok(Form::Whole(digest.clone())));
        let hex = digest.hex();
        for (text, expected) in [
            (&text[..13], Form::Start(Some("sha256"), &hex[..6])),
            (&hex[..6], Form::Start(None, &hex[..6])),
            (hex, Form::Start(None, hex)),
            ("debian:12", Form::Other),
            (&format!("app:{}", &hex[..40]), Form::Other),
            ("localhost:5000/a", Form::Other),
            ("abc12", Form::Other),
            ("ABCDEF", Form::Other),
            ("", Form::Other),
        ] {
            assert_eq!(Form::of(text), Ok(expected), "{text}");
        }
        for mistyped in [
            "sha256:",
            "sha256:abcde",
            "sha256:../../etc/passwd",
            "sha256:abcdex/y",
            "sha512:ABCDEF",
            &format!("SHA256:{hex}"),
            &format!("md5:{}", &hex[..32]),
            &format!("{text}0"),
            &format!("sha256:{}", hex.to_uppercase()),
        ] {
            assert!(Form::of(mistyped).is_err(), "{mistyped}");
        }
    }
}
