//! Reading zips that nobody vouches for: nothing leaves the directory, nothing grows beyond its limit.
//!
//! Names are plain relative paths. Links are made last and none is ever written through; a link climbs only at its
//! start and no higher than its own directory is deep, so that no chain of links leads out. Sizes are counted while
//! reading, whatever the headers claim.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
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

/// How many bytes a zip that was checked unpacks to, for fuzzers.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn counted(zip: &[u8]) -> u64 {
    struct Counter(std::rc::Rc<std::cell::Cell<u64>>);
    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.set(self.0.get() + bytes.len() as u64);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Taker for Counter {
        fn directory(&mut self, _: &Path) -> Result<(), CodeError> {
            Ok(())
        }
        fn file(&mut self, _: &Path, _: u32) -> Result<Box<dyn Write>, CodeError> {
            Ok(Box::new(Counter(std::rc::Rc::clone(&self.0))))
        }
        fn link(&mut self, _: &Path, _: &Path) -> Result<(), CodeError> {
            Ok(())
        }
    }
    let mut counter = Counter(std::rc::Rc::default());
    let _ = walk(zip, &mut counter);
    counter.0.get()
}

/// Unpacks a zip into an empty directory, for the daemon's user and a group to read and for nobody to write.
pub(super) fn unpack(zip: &[u8], into: &Path, readers: Option<u32>) -> Result<(), CodeError> {
    let mut disk = Disk { root: into, readers, directories: BTreeSet::new() };
    disk.make(Path::new(""))?;
    walk(zip, &mut disk)?;
    disk.close()
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
    /// The group that may read; nobody's but the daemon's unless given.
    readers: Option<u32>,
    /// All that were made, and stay the daemon's alone until everything is in them.
    directories: BTreeSet<PathBuf>,
}

impl Disk<'_> {
    fn make_parent(&mut self, path: &Path) -> Result<PathBuf, CodeError> {
        if let Some(parent) = path.parent() {
            self.make(parent)?;
        }
        Ok(self.root.join(path))
    }

    fn make(&mut self, path: &Path) -> Result<(), CodeError> {
        let mut place = self.root.to_owned();
        self.directories.insert(place.clone());
        for part in path.components() {
            place.push(part);
            if self.directories.insert(place.clone()) {
                fs::create_dir(&place).map_err(CodeError::file("make", &place))?;
            }
        }
        Ok(())
    }

    /// Lets readers in; the innermost directories first, for what is closed to writing is so to its owner, too.
    fn close(&self) -> Result<(), CodeError> {
        for place in self.directories.iter().rev() {
            self.give(place, 0o550).map_err(CodeError::file("open to readers", place))?;
        }
        Ok(())
    }

    fn give(&self, place: &Path, mode: u32) -> io::Result<()> {
        if let Some(group) = self.readers {
            chown(place, None, Some(group))?;
        }
        fs::set_permissions(place, fs::Permissions::from_mode(mode))
    }
}

impl Taker for Disk<'_> {
    fn directory(&mut self, path: &Path) -> Result<(), CodeError> {
        self.make(path)
    }

    fn file(&mut self, path: &Path, mode: u32) -> Result<Box<dyn Write>, CodeError> {
        let place = self.make_parent(path)?;
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place);
        let file = opened.map_err(CodeError::file("write", &place))?;
        // Whatever the zip says of it: whether it may be run is the only thing that is taken from there.
        let mode = if mode & 0o111 == 0 { 0o440 } else { 0o550 };
        self.give(&place, mode).map_err(CodeError::file("open to readers", &place))?;
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
    refuse_names_twice(zip, archive.central_directory_start())?;
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

/// Refuses a zip whose directory has a name twice, which readers read differently: ours keeps the last of them alone.
fn refuse_names_twice(zip: &[u8], directory_at: u64) -> Result<(), CodeError> {
    const HEADER: &[u8] = b"PK\x01\x02";
    const HEADER_BYTES: usize = 46;
    let directory = usize::try_from(directory_at).ok().and_then(|at| zip.get(at..));
    let mut rest = directory.ok_or_else(|| broken("its directory is not where it says"))?;
    let mut names = BTreeSet::new();
    while rest.starts_with(HEADER) && rest.len() >= HEADER_BYTES {
        let length = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let (name, beyond) = (length(28), length(30) + length(32));
        let name_end = HEADER_BYTES + name;
        let name = rest.get(HEADER_BYTES..name_end).ok_or_else(|| broken("its directory ends early"))?;
        if !names.insert(name) {
            return Err(ZipFault::entry(name, "is there twice").into());
        }
        rest = rest.get(name_end + beyond..).unwrap_or_default();
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
        unpack(&zip, dir.path(), None).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bootstrap"), mode("lib/deep/one.py"), mode("lib/deep")), (0o550, 0o440, 0o550));
        assert_eq!(fs::read_to_string(dir.path().join("lib/link")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.path().join("bin/up/one.py")).unwrap(), "1");
    }

    #[test]
    fn nobody_may_write_what_a_zip_opens_to_all_and_only_a_group_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let zip = zip_of(&[("data", "x", 0o666), ("run/it", "x", 0o777), ("run/hidden", "x", 0o000)]);
        unpack(&zip, dir.path(), None).unwrap();
        for (name, expected) in
            [("data", 0o440), ("run/it", 0o550), ("run/hidden", 0o440), ("run", 0o550), ("", 0o550)]
        {
            let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, expected, "{name}");
        }
        crate::code::remove_unpacked(&dir.path().join("run")).unwrap();
        assert!(!dir.path().join("run").exists());
    }

    #[test]
    fn a_name_that_is_there_twice_is_refused() {
        // The crate that writes zips refuses it, too, so it is made of two names that are as long.
        let mut zip = zip_of(&[("bootstrap", "good", 0o755), ("bootstraq", "bad", 0o755)]);
        while let Some(at) = zip.windows(9).position(|name| name == b"bootstraq") {
            zip[at + 8] = b'p';
        }
        let refused = check(&zip).unwrap_err().to_string();
        assert!(refused.contains("\"bootstrap\" is there twice"), "{refused}");
        let refused = outcome(&[("a", "", 0o644), ("./a", "", 0o644)]).unwrap_err();
        assert!(refused.contains("is there twice"), "{refused}");
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
