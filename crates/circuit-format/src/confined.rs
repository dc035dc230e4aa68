//! Files below a folder and nowhere else, whatever a name or a link says. Not here: which names are allowed.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The real path of a file below `folder`: `relative` may name folders, but neither it nor any link on the way leads out.
/// `None` where there is no such regular file: absolute names, `..`, names that begin with a dot, folders, pipes.
///
/// # Errors
/// If the operating system refuses to tell.
pub fn file_inside(folder: &Path, relative: &Path) -> io::Result<Option<PathBuf>> {
    let plain = |part: Component<'_>| match part {
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        _ => false,
    };
    // A NUL ends a name for the operating system; what follows it would be hidden from the checks above.
    if !relative.components().all(plain) || relative.as_os_str().as_encoded_bytes().contains(&0) {
        return Ok(None);
    }
    let absent = |e: &io::Error| {
        matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
        ) || e.raw_os_error() == Some(TOO_MANY_LINKS)
    };
    let folder = match fs::canonicalize(folder) {
        Err(e) if absent(&e) => return Ok(None),
        folder => folder?,
    };
    let path = match fs::canonicalize(folder.join(relative)) {
        Err(e) if absent(&e) => return Ok(None),
        path => path?,
    };
    Ok((path.starts_with(&folder) && fs::metadata(&path)?.is_file()).then_some(path))
}

/// ELOOP: links that lead to each other, for which the standard library has no stable name.
const TOO_MANY_LINKS: i32 = 40;

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        for name in ["file", "sub/file", ".hidden"] {
            fs::write(folder.join(name), "").unwrap();
        }
        symlink("../secret", folder.join("out")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("file", folder.join("alias")).unwrap();
        symlink("loop", folder.join("loop")).unwrap();
        let found = |name: &str| file_inside(&folder, Path::new(name)).unwrap().is_some();
        for good in ["file", "sub/file", "alias", "up/folder/file"] {
            assert!(found(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../secret",
            "sub/../../secret",
            "/etc/hostname",
            "out",
            "up/secret",
            ".hidden",
            "sub",
            "missing",
            "file/x",
            "loop",
            "file\0",
        ] {
            assert!(!found(bad), "{bad}");
        }
        assert!(file_inside(&dir.path().join("none"), Path::new("file")).unwrap().is_none());
    }
}
