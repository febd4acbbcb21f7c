//! The files that a run reads, none of which its results may replace.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ociget::{Request, SourceSpec};
use rustix::fs::FileType;

use crate::config::Layers;
use crate::failure::UsageError;
use crate::network::NetworkArgs;
use crate::output;
use crate::target::Target;

/// The name of standard input.
const STDIN: &str = "-";

/// Device and inode of a file, which are the same under all of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

/// The inputs of a run: files, and directories of which a run reads some files.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    files: Vec<PathBuf>,
    layouts: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    hosts: Option<PathBuf>,
}

impl Inputs {
    /// Returns the inputs of a run with these options. A source that cannot be parsed has none.
    pub(crate) fn of(
        layers: &Layers,
        target: &Target,
        network: &NetworkArgs,
        sources: &[String],
    ) -> Self {
        let mut inputs = Self::default();
        let configuration = layers.files().map(|file| file.path().to_owned());
        inputs.files.extend(configuration);
        inputs.files.extend(target.agent.clone());
        let injected = target.inject.iter().map(|file| file.host.clone());
        inputs.files.extend(injected);
        inputs.files.extend(network.files().map(Path::to_owned));
        inputs.hosts = network.hosts_dir().map(Path::to_owned);
        for source in sources {
            let Ok(request) = Request::parse(source, None) else {
                continue;
            };
            match request.spec() {
                SourceSpec::Layout { dir, .. } => inputs.layouts.push(dir.clone()),
                SourceSpec::Directory { dir } => inputs.directories.push(dir.clone()),
                SourceSpec::OciArchive { file, .. }
                | SourceSpec::DockerArchive { file, .. }
                | SourceSpec::Tar { file } => inputs.files.push(file.clone()),
                _ => {}
            }
        }
        inputs
    }

    /// Adds files.
    pub(crate) fn with<'a>(mut self, files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        self.files.extend(files.into_iter().cloned());
        self
    }

    /// Refuses to replace an input, before anything is done.
    pub(crate) fn refuse(&self, output: &Path) -> Result<(), UsageError> {
        // A result replaces a symlink, not the file that it leads to.
        let Some(replaced) = identity(fs::symlink_metadata(output)) else {
            return Ok(());
        };
        match self.all().find(|input| is(input, replaced)) {
            Some(input) => Err(UsageError(format!(
                "cannot write {}: it would replace {}, which this run reads; name another file",
                output::path(output),
                match input == Path::new(STDIN) {
                    true => "the file on stdin".to_owned(),
                    false => output::path(&input),
                }
            ))),
            None => Ok(()),
        }
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        let layouts = self.layouts.iter().flat_map(|dir| {
            let names = ["oci-layout", "index.json"].map(|name| dir.join(name));
            let algorithms = children(dir.join("blobs"));
            names.into_iter().chain(algorithms.flat_map(children))
        });
        let directories = self.directories.iter().cloned().flat_map(|dir| {
            children(dir).filter(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let digits = name.bytes().take_while(u8::is_ascii_hexdigit).count();
                name == "manifest.json" || name == "version" || digits >= 64
            })
        });
        let hosts = self.hosts.iter().cloned().flat_map(children);
        let hosts = hosts.flat_map(children);
        let files = self.files.iter().cloned();
        files.chain(layouts).chain(directories).chain(hosts)
    }
}

/// Returns whether an image is an archive on standard input.
pub(crate) fn is_stdin(request: &Request) -> bool {
    match request.spec() {
        SourceSpec::OciArchive { file, .. }
        | SourceSpec::DockerArchive { file, .. }
        | SourceSpec::Tar { file } => file == Path::new(STDIN),
        _ => false,
    }
}

/// Returns the position in the file on standard input; `None` if it is no regular file, which is read once.
pub(crate) fn position_of_stdin() -> Option<u64> {
    let stdin = io::stdin();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&stdin).ok()?.st_mode);
    let is_file = kind == FileType::RegularFile;
    is_file.then(|| rustix::fs::tell(&stdin).ok())?
}

/// Returns the paths in a directory; none if it cannot be read.
fn children(directory: PathBuf) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

fn identity(found: io::Result<Metadata>) -> Option<Identity> {
    let found = found.ok()?;
    Some(Identity(found.dev(), found.ino()))
}

/// Returns whether an input, or the symlink of its name, is the file.
fn is(input: &Path, file: Identity) -> bool {
    if input == Path::new(STDIN) {
        let found = rustix::fs::fstat(io::stdin());
        return found.is_ok_and(|found| Identity(found.st_dev, found.st_ino) == file);
    }
    let found = [fs::metadata(input), fs::symlink_metadata(input)];
    found.into_iter().any(|found| identity(found) == Some(file))
}
