//! Reading zips that nobody vouches for: nothing leaves the directory, nothing grows beyond its limit.
//!
//! Names are plain relative paths. Links are made last and none is ever written through; a link climbs only at its
//! start and no higher than its own directory is deep, so that no chain of links leads out. Sizes are counted while
//! reading, whatever the headers claim.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;

use super::CodeError;

/// How much code may be, unpacked: 250 MiB, as on AWS.
pub const UNPACKED_BYTES_MAX: u64 = 250 << 20;
/// How many files, directories and links a zip may hold; an inode costs the disk even when it is empty.
const ENTRIES_MAX: usize = 100_000;
/// How long a link's target may be; Linux takes no longer path.
const LINK_BYTES_MAX: u64 = 4095;

/// Why a zip cannot be a function's code. The texts are AWS's, followed by what is wrong where that helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZipFault {
    /// It cannot be read as a zip.
    #[error("Could not unzip uploaded file. Please check your file, then try to upload again.")]
    Broken(String),
    /// There is nothing in it.
    #[error("Uploaded file must be a non-empty zip")]
    Empty,
    /// It is too large once unpacked.
    #[error("Unzipped size must be smaller than {UNPACKED_BYTES_MAX} bytes")]
    TooLarge,
    /// An entry has a name or a target that leads out of the directory, or is nothing that can be unpacked.
    #[error(
        "Could not unzip uploaded file. Please check your file, then try to upload again. Entry {entry:?} {why}"
    )]
    Entry {
        /// Its name, shortened.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl ZipFault {
    fn entry(name: &[u8], why: &'static str) -> ZipFault {
        let shown: String = String::from_utf8_lossy(name).chars().take(100).collect();
        ZipFault::Entry { entry: shown, why }
    }
}

fn broken(why: impl ToString) -> ZipFault {
    ZipFault::Broken(why.to_string())
}

/// Checks that a zip can be unpacked, by reading all of it.
pub(super) fn check(zip: &[u8]) -> Result<(), ZipFault> {
    walk(zip, &mut Sink).map_err(|fault| match fault {
        CodeError::Zip(fault) => fault,
        // The sink opens no files.
        other => broken(other),
    })
}

/// Unpacks a zip into an empty directory.
pub(super) fn unpack(zip: &[u8], into: &Path) -> Result<(), CodeError> {
    walk(zip, &mut Disk { root: into })
}

/// What is done with the entries of a zip, whose names were found harmless.
trait Taker {
    fn directory(&mut self, path: &Path) -> Result<(), CodeError>;
    fn file(&mut self, path: &Path, mode: u32) -> Result<Box<dyn Write>, CodeError>;
    fn link(&mut self, path: &Path, target: &Path) -> Result<(), CodeError>;
}

/// Takes everything and keeps nothing.
struct Sink;

impl Taker for Sink {
    fn directory(&mut self, _: &Path) -> Result<(), CodeError> {
        Ok(())
    }

    fn file(&mut self, _: &Path, _: u32) -> Result<Box<dyn Write>, CodeError> {
        Ok(Box::new(io::sink()))
    }

    fn link(&mut self, _: &Path, _: &Path) -> Result<(), CodeError> {
        Ok(())
    }
}

/// Writes below a directory.
struct Disk<'a> {
    root: &'a Path,
}

impl Disk<'_> {
    fn make_parent(&self, path: &Path) -> Result<PathBuf, CodeError> {
        if let Some(parent) = path.parent() {
            self.make(parent)?;
        }
        Ok(self.root.join(path))
    }

    /// Makes directories that others may enter: the code may run as another user.
    fn make(&self, path: &Path) -> Result<(), CodeError> {
        let mut place = self.root.to_owned();
        open_to_all(&place, 0o755).map_err(CodeError::file("open to readers", &place))?;
        for part in path.components() {
            place.push(part);
            match fs::create_dir(&place) {
                Ok(()) => open_to_all(&place, 0o755),
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(why) => Err(why),
            }
            .map_err(CodeError::file("make", &place))?;
        }
        Ok(())
    }
}

fn open_to_all(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

impl Taker for Disk<'_> {
    fn directory(&mut self, path: &Path) -> Result<(), CodeError> {
        self.make(path)
    }

    fn file(&mut self, path: &Path, mode: u32) -> Result<Box<dyn Write>, CodeError> {
        let place = self.make_parent(path)?;
        // Set-user-id and the like are left out; everybody may read.
        let mode = (mode & 0o777) | 0o444;
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&place);
        let file = opened.map_err(CodeError::file("write", &place))?;
        open_to_all(&place, mode).map_err(CodeError::file("open to readers", &place))?;
        Ok(Box::new(file))
    }

    fn link(&mut self, path: &Path, target: &Path) -> Result<(), CodeError> {
        let place = self.make_parent(path)?;
        symlink(target, &place).map_err(CodeError::file("link", &place))
    }
}

fn walk(zip: &[u8], taker: &mut dyn Taker) -> Result<(), CodeError> {
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(broken)?;
    if archive.is_empty() {
        return Err(ZipFault::Empty.into());
    }
    if archive.len() > ENTRIES_MAX {
        return Err(broken(format!("{} entries", archive.len())).into());
    }
    let mut budget = UNPACKED_BYTES_MAX;
    let mut files = BTreeSet::new();
    let mut directories = BTreeSet::new();
    let mut links = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let name = entry.name_raw().to_vec();
        let path = plain_path(&name)?;
        if entry.encrypted() {
            return Err(ZipFault::entry(&name, "is encrypted").into());
        }
        directories.extend(path.ancestors().skip(1).map(Path::to_owned));
        if entry.is_dir() {
            directories.insert(path.clone());
            taker.directory(&path)?;
            continue;
        }
        if path.as_os_str().is_empty() {
            return Err(ZipFault::entry(&name, "has no name").into());
        }
        if !files.insert(path.clone()) {
            return Err(ZipFault::entry(&name, "is there twice").into());
        }
        if entry.is_symlink() {
            let target = link_target(&mut entry, &name, &path, &mut budget)?;
            links.push((path, target));
            continue;
        }
        let mode = entry.unix_mode().unwrap_or(0o644);
        if !matches!(mode & 0o170_000, 0 | 0o100_000) {
            return Err(ZipFault::entry(&name, "is neither a file nor a directory nor a link").into());
        }
        let mut out = taker.file(&path, mode)?;
        copy(&mut entry, &mut out, &mut budget, &path)?;
    }
    // A file that is also a directory, or a link that something lies below, cannot be unpacked.
    if let Some(both) = files.intersection(&directories).next() {
        let name = both.to_string_lossy();
        return Err(ZipFault::entry(name.as_bytes(), "is a file and a directory at once").into());
    }
    for (path, target) in links {
        taker.link(&path, &target)?;
    }
    Ok(())
}

/// Copies an entry, counting what really comes.
fn copy<R: Read + io::Seek>(
    entry: &mut ZipFile<'_, R>,
    out: &mut dyn Write,
    budget: &mut u64,
    path: &Path,
) -> Result<(), CodeError> {
    let mut buffer = [0; 64 << 10];
    loop {
        let read = entry.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            return Ok(());
        }
        *budget = budget.checked_sub(read as u64).ok_or(ZipFault::TooLarge)?;
        out.write_all(&buffer[..read]).map_err(CodeError::file("write", path))?;
    }
}

/// A name as a path below the directory.
fn plain_path(name: &[u8]) -> Result<PathBuf, ZipFault> {
    let text =
        std::str::from_utf8(name).map_err(|_| ZipFault::entry(name, "has a name that is not UTF-8"))?;
    if text.contains(['\\', '\0']) {
        return Err(ZipFault::entry(name, "has a backslash or a zero byte in its name"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) if part.len() <= 255 => path.push(part),
            Component::Normal(_) => return Err(ZipFault::entry(name, "has too long a name")),
            Component::CurDir => {}
            _ => return Err(ZipFault::entry(name, "leads out of the function's directory")),
        }
    }
    if path.as_os_str().len() > 2048 {
        return Err(ZipFault::entry(name, "has too long a name"));
    }
    Ok(path)
}

/// Where a link leads: relative, climbing only at its start and no higher than the directory it lies in is deep.
fn link_target<R: Read + io::Seek>(
    entry: &mut ZipFile<'_, R>,
    name: &[u8],
    path: &Path,
    budget: &mut u64,
) -> Result<PathBuf, CodeError> {
    let mut bytes = Vec::new();
    entry.take(LINK_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(broken)?;
    *budget = budget.checked_sub(bytes.len() as u64).ok_or(ZipFault::TooLarge)?;
    let outside = ZipFault::entry(name, "links out of the function's directory");
    let target = PathBuf::from(std::str::from_utf8(&bytes).map_err(|_| outside.clone())?);
    let mut depth = path.components().count() - 1;
    let mut has_descended = false;
    for component in target.components() {
        match component {
            Component::Normal(_) => has_descended = true,
            Component::CurDir => {}
            Component::ParentDir if !has_descended && depth > 0 => depth -= 1,
            _ => return Err(outside.into()),
        }
    }
    if bytes.is_empty() || bytes.contains(&0) || bytes.len() as u64 > LINK_BYTES_MAX {
        return Err(outside.into());
    }
    Ok(target)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    /// A zip of files with their modes; a mode that says link makes one to the content.
    pub(in crate::code) fn zip_of(files: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content, mode) in files {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            let options = options.unix_permissions(mode & 0o777);
            if mode & 0o170_000 == 0o120_000 {
                writer.add_symlink(*name, *content, options).unwrap();
            } else {
                writer.start_file(*name, options).unwrap();
                writer.write_all(content.as_bytes()).unwrap();
            }
        }
        writer.finish().unwrap().into_inner()
    }

    const LINK: u32 = 0o120_777;

    fn outcome(files: &[(&str, &str, u32)]) -> Result<(), String> {
        check(&zip_of(files)).map_err(|fault| fault.to_string())
    }

    #[test]
    fn files_modes_and_links_are_unpacked() {
        let zip = zip_of(&[
            ("bootstrap", "#!", 0o700),
            ("lib/deep/one.py", "1", 0o600),
            ("lib/link", "deep/one.py", LINK),
            ("./bin/up", "../lib/deep", LINK),
        ]);
        check(&zip).unwrap();
        let dir = tempfile::tempdir().unwrap();
        unpack(&zip, dir.path()).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bootstrap"), mode("lib/deep/one.py"), mode("lib/deep")), (0o744, 0o644, 0o755));
        assert_eq!(fs::read_to_string(dir.path().join("lib/link")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.path().join("bin/up/one.py")).unwrap(), "1");
    }

    #[test]
    fn nothing_leads_out() {
        for name in ["../x", "/etc/x", "a/../../x", "a/../x", "a\\..\\x"] {
            let refused = outcome(&[(name, "x", 0o644)]).unwrap_err();
            assert!(refused.starts_with("Could not unzip uploaded file."), "{refused}");
        }
        for (name, target) in [
            ("l", ".."),
            ("l", "/etc/passwd"),
            ("a/l", "../.."),
            ("a/l", "b/../.."),
            ("l", ""),
            ("a/b/l", "../c/../../d"),
        ] {
            let refused = outcome(&[(name, target, LINK), ("a/b/c", "", 0o644)]).unwrap_err();
            assert!(refused.contains("links out"), "{name} → {target}: {refused}");
        }
        assert!(outcome(&[("a/b/l", "../../c", LINK)]).is_ok());
        // Nothing is written through a link, whichever comes first.
        for files in [[("a", "b", LINK), ("a/x", "x", 0o644)], [("a/x", "x", 0o644), ("a", "b", LINK)]] {
            let refused = outcome(&files).unwrap_err();
            assert!(refused.contains("at once"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_zip_is_refused_in_lambdas_words() {
        assert_eq!(
            check(b"not a zip").unwrap_err().to_string(),
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        );
        assert_eq!(check(&zip_of(&[])).unwrap_err(), ZipFault::Empty);
        let mut cut = zip_of(&[("a", &"x".repeat(1000), 0o644)]);
        cut[40] ^= 0xff;
        assert!(matches!(check(&cut), Err(ZipFault::Broken(_))), "a wrong checksum");
    }

    #[test]
    fn a_bomb_is_refused_while_it_is_counted() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let chunk = vec![0; 1 << 20];
        for file in 0..3 {
            writer.start_file(format!("zeros-{file}"), options).unwrap();
            (0..90).for_each(|_| writer.write_all(&chunk).unwrap());
        }
        let zip = writer.finish().unwrap().into_inner();
        assert!(zip.len() < 1 << 20);
        assert_eq!(
            check(&zip).unwrap_err().to_string(),
            "Unzipped size must be smaller than 262144000 bytes"
        );
    }
}
