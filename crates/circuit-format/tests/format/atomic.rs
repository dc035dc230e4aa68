//! Files are there whole or not at all, whatever goes wrong.

use circuit_format::write_atomically;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_failed_write_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("graph.json");
    let fail = || {
        let error = write_atomically(&path, |out| {
            out.write_all(&[b'x'; 1 << 20])?;
            Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull))
        });
        error.unwrap_err().to_string()
    };
    let error = fail();
    assert!(error.contains("graph.json") && error.contains("cannot write"), "{error}");
    assert!(names(folder.path()).is_empty());
    write_atomically(&path, |out| out.write_all(b"whole")).unwrap();
    fail();
    assert_eq!(fs::read(&path).unwrap(), b"whole");
    assert_eq!(names(folder.path()), ["graph.json"]);
}

#[test]
fn places_for_no_file_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    let nowhere = folder.path().join("missing/graph.json");
    for (path, message) in [
        (file.join("graph.json"), "file/graph.json: cannot write"),
        (nowhere, "missing/graph.json: cannot write"),
        (folder.path().to_path_buf(), "a regular file or nothing, found a folder"),
    ] {
        let error = write_atomically(&path, |out| out.write_all(b"new")).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file"]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;

    #[test]
    fn a_device_is_never_replaced() {
        let error = write_atomically(Path::new("/dev/null"), |out| out.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("a device or pipe"), "{error}");
    }

    #[test]
    fn links_are_followed_and_permissions_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        write_atomically(&file, |out| out.write_all(b"old")).unwrap();
        assert_eq!(mode(&file), mode(&plain), "a new file is as readable as any");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        write_atomically(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(mode(&file), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    const STOPPED: &str = "CIRCUIT_TRACER_TEST_STOPPED";
    const CHILD: &str = "CIRCUIT_FORMAT_TEST_WRITES_INTO";

    /// The other half of the next test: writes too much, in a process with a file size limit.
    #[test]
    fn child_that_writes_past_the_limit() {
        let Some(folder) = std::env::var_os(CHILD) else { return };
        let write = |name: &str| {
            let path = Path::new(&folder).join(name);
            write_atomically(&path, |out| out.write_all(&[0; 1 << 22])).unwrap_err().to_string()
        };
        for name in ["new", "old"] {
            let error = write(name);
            assert!(error.contains(name) && error.contains("File too large"), "{error}");
        }
        let error = circuit_format::write_pt(
            &Path::new(&folder).join("new.pt"),
            &wide_graph(),
            circuit_format::PtLimit(u64::MAX),
        );
        assert!(error.unwrap_err().to_string().contains("File too large"));
    }

    /// No edges, but a square of four megabytes.
    fn wide_graph() -> circuit_graph::Graph {
        let mut graph = crate::support::toy();
        graph.model.n_layers = 400;
        graph.rows = circuit_graph::Rows::new(2 + 1200 + 3, vec![0.0; 4 * (2 + 1200 + 3)]).unwrap();
        graph
    }

    /// Run by the test after the next in a process of its own: removing is for all writes of a process.
    #[test]
    fn child_that_is_told_to_stop() {
        let Some(folder) = std::env::var_os(STOPPED) else { return };
        let path = Path::new(&folder).join("file");
        let result = write_atomically(&path, |out| {
            out.write_all(b"new")?;
            assert_eq!(names(Path::new(&folder)).len(), 2);
            circuit_format::remove_unfinished();
            Ok(())
        });
        assert!(result.unwrap_err().to_string().contains("file"));
    }

    #[test]
    fn what_is_half_written_can_be_removed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "old").unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "atomic::unix::child_that_is_told_to_stop"])
            .env(STOPPED, folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(names(folder.path()), ["file"]);
        assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"old");
    }

    /// The signal that comes with the limit is ignored, as the binary does.
    #[test]
    fn a_file_size_limit_is_an_error_that_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), "old").unwrap();
        let status = Command::new("sh")
            .args([
                "-c",
                "trap '' XFSZ && ulimit -f 64 && exec \"$0\" --exact \"$1\" --test-threads 1 > \"$2\" 2>&1",
            ])
            .arg(std::env::current_exe().unwrap())
            .args(["atomic::unix::child_that_writes_past_the_limit", "/dev/null"])
            .env(CHILD, folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
        assert_eq!(names(folder.path()), ["old"]);
        assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"old");
    }
}

#[test]
fn a_link_without_a_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("sub/file", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("link", dir.path().join("outer")).unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    write_atomically(&dir.path().join("outer"), |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(dir.path().join("sub/file")).unwrap(), b"new");
    assert!(fs::symlink_metadata(dir.path().join("outer")).unwrap().is_symlink());
    std::os::unix::fs::symlink("round", dir.path().join("round")).unwrap();
    assert!(write_atomically(&dir.path().join("round"), |out| out.write_all(b"new")).is_err());
}
