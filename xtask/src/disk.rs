//! A disk of many images, one in each partition, so that one machine can mount all of them.
//!
//! The partition table is a GPT (UEFI specification, 5.3), which Debian's kernel reads without a module: a protective
//! MBR, a header in sector 1, and 128 entries of 128 bytes behind it. There is no backup at the end; the kernel says so
//! and takes the first one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tree_listing::Listing;

const SECTOR: u64 = 512;

/// Images that a disk has room for.
pub const IMAGES_MAX: usize = 128;

/// Bytes of an entry of the table.
const ENTRY: usize = 128;

/// Where the first image begins: at a multiple of every page size that matters, behind the table.
const START: u64 = 1 << 20;

/// An image in a partition.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Name in a failure.
    pub name: String,
    /// Listing that a guest has to find in it.
    pub expected: Listing,
    /// Whether it is an artifact with the probe as its agent. The guest then also mounts over it what an agent mounts.
    pub bootable: bool,
    /// SHA-256 of all its sectors, in hexadecimal digits.
    pub(crate) bytes: String,
    start: u64,
    end: u64,
}

impl Attached {
    /// Bytes from the start of the disk to the image's first one.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Bytes from the start of the disk to the end of the image, in whole sectors.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }
}

/// A disk, in a file without a name.
#[derive(Debug)]
pub struct Disk {
    file: File,
    images: Vec<Attached>,
}

impl Disk {
    /// Returns a disk without images.
    ///
    /// # Errors
    ///
    /// Returns what the temporary directory says.
    pub fn new() -> Result<Self> {
        Ok(Self {
            file: tempfile::tempfile().context("cannot make a temporary file for a disk")?,
            images: Vec::new(),
        })
    }

    /// Returns the images, in order of their partitions.
    #[must_use]
    pub fn images(&self) -> &[Attached] {
        &self.images
    }

    /// Returns whether there is no room for one more image.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.images.len() >= IMAGES_MAX
    }

    /// Adds the image that `write` writes from the current position of the file on, up to its end.
    ///
    /// # Errors
    ///
    /// Returns what `write` does, and an error if the disk is full.
    pub fn add(
        &mut self,
        name: &str,
        bootable: bool,
        write: impl FnOnce(File) -> Result<Listing>,
    ) -> Result<()> {
        ensure!(!self.is_full(), "a disk has room for {IMAGES_MAX} images");
        let start = self.images.last().map_or(START, |image| image.end);
        self.file.seek(SeekFrom::Start(start))?;
        let expected = write(self.file.try_clone()?)?;
        let written = self.file.seek(SeekFrom::End(0))?;
        ensure!(written > start, "{name} is an image without a byte");
        let end = written.next_multiple_of(SECTOR);
        self.file.set_len(end)?;
        let bytes = digest(&self.file, start, end)?;
        self.images.push(Attached {
            name: name.to_owned(),
            expected,
            bootable,
            bytes,
            start,
            end,
        });
        Ok(())
    }

    /// Returns the bytes of an image as they are now.
    ///
    /// # Errors
    ///
    /// Returns what the file says, and an error if there is no such image.
    pub fn read(&mut self, image: usize) -> Result<Vec<u8>> {
        let image = self.images.get(image).context("no such image")?;
        self.file.seek(SeekFrom::Start(image.start))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut self.file)
            .take(image.end - image.start)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Changes one byte of the disk, as a damaged medium would: what the images are expected to be stays.
    ///
    /// # Errors
    ///
    /// Returns what the file says.
    pub fn flip(&mut self, at: u64, bits: u8) -> Result<()> {
        let mut byte = [0];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut byte)?;
        let [byte] = byte;
        self.file.seek(SeekFrom::Start(at))?;
        Ok(self.file.write_all(&[byte ^ bits])?)
    }

    /// Cuts an image off after `length` bytes: its partition ends with the sector of the last one, and the rest of that
    /// sector is zero.
    ///
    /// # Errors
    ///
    /// Returns what the file says, and an error if there is no such image.
    pub fn cut(&mut self, image: usize, length: u64) -> Result<()> {
        let image = self.images.get_mut(image).context("no such image")?;
        let cut = image.start + length.max(1);
        let end = cut.next_multiple_of(SECTOR).min(image.end);
        let gone = usize::try_from(end.saturating_sub(cut))?;
        image.end = end;
        self.file.seek(SeekFrom::Start(cut))?;
        Ok(self.file.write_all(&vec![0; gone])?)
    }

    /// Writes the partition table and returns the file.
    pub(crate) fn seal(&self) -> Result<&File> {
        let mut file = &self.file;
        let length = file.seek(SeekFrom::End(0))?.max(START) + SECTOR;
        file.set_len(length)?;
        let last = length / SECTOR - 1;
        let mut entries = vec![0; IMAGES_MAX * ENTRY];
        for ((number, image), entry) in (1_u64..).zip(&self.images).zip(entries.chunks_mut(ENTRY)) {
            let mut entry = entry;
            // Any type but zero is one; each partition has a number of its own.
            entry.write_all(&[0xA1; 16])?;
            entry.write_all(&u128::from(number).to_le_bytes())?;
            entry.write_all(&(image.start / SECTOR).to_le_bytes())?;
            entry.write_all(&(image.end / SECTOR - 1).to_le_bytes())?;
        }
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&protective_record(last))?;
        file.write_all(&header(&entries, last)?)?;
        file.write_all(&entries)?;
        file.flush()?;
        Ok(&self.file)
    }
}

/// Sector 0: one partition of type 0xEE over the whole disk.
fn protective_record(last: u64) -> [u8; 512] {
    let mut record = [0; 512];
    let size = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    let start = 1_u32.to_le_bytes();
    let partition = [&[0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF][..], &start, &size].concat();
    for (byte, value) in record.iter_mut().skip(446).zip(partition) {
        *byte = value;
    }
    for (byte, value) in record.iter_mut().skip(510).zip([0x55, 0xAA]) {
        *byte = value;
    }
    record
}

/// Sector 1.
fn header(entries: &[u8], last: u64) -> Result<Vec<u8>> {
    let fields = |checksum: u32| -> Result<Vec<u8>> {
        Ok([
            &b"EFI PART"[..],
            &0x0001_0000_u32.to_le_bytes(),
            &92_u32.to_le_bytes(),
            &checksum.to_le_bytes(),
            &[0; 4],
            &1_u64.to_le_bytes(),
            &last.to_le_bytes(),
            &(START / SECTOR).to_le_bytes(),
            &(last - 1).to_le_bytes(),
            &[0xA2; 16],
            &2_u64.to_le_bytes(),
            &u32::try_from(IMAGES_MAX)?.to_le_bytes(),
            &u32::try_from(ENTRY)?.to_le_bytes(),
            &crc32fast::hash(entries).to_le_bytes(),
        ]
        .concat())
    };
    // The checksum is of the header with zeros in its place.
    let mut header = fields(crc32fast::hash(&fields(0)?))?;
    header.resize(512, 0);
    Ok(header)
}

fn digest(mut file: &File, start: u64, end: u64) -> Result<String> {
    file.seek(SeekFrom::Start(start))?;
    let mut image = file.take(end - start);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match image.read(&mut buffer)? {
            0 => break,
            length => hasher.update(buffer.get(..length).unwrap_or_default()),
        }
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn seven_zip_reads_the_partition_table() {
        let mut disk = Disk::new().unwrap();
        for length in [1, 513, 4096] {
            let name = length.to_string();
            disk.add(&name, false, |mut file| {
                file.write_all(&vec![7; length])?;
                Ok(Listing::default())
            })
            .unwrap();
        }
        disk.cut(2, 1000).unwrap();
        let copy = tempfile::Builder::new().suffix(".gpt").tempfile().unwrap();
        let mut file = disk.seal().unwrap();
        file.rewind().unwrap();
        std::io::copy(&mut file, &mut copy.as_file()).unwrap();

        let mut command = Command::new("7z");
        let output = command.args(["l", "-slt", "-tGPT"]).arg(copy.path());
        let text = String::from_utf8(output.output().unwrap().stdout).unwrap();

        let numbers = |name: &str| -> Vec<u64> {
            let lines = text.lines().skip_while(|line| !line.starts_with("-----"));
            let values = lines.filter_map(|line| line.strip_prefix(name));
            values.map(|value| value.parse().unwrap()).collect()
        };
        assert_eq!(numbers("Size = "), [512, 1024, 1024], "{text}");
        let start = START;
        assert_eq!(numbers("Offset = "), [start, start + 512, start + 1536]);
        let cut = disk.read(2).unwrap();
        assert_eq!((&cut[..1000], &cut[1000..]), (&[7; 1000][..], &[0; 24][..]));
    }
}
