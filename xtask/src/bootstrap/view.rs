//! `.libtorch/view`: the root that cargo's configuration names. Links to the headers and to the libraries to link, and
//! nothing more: torch-sys would link the CUDA half if it saw it, and then no program would start without it.

use super::find::Torch;
use super::write_atomically;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

/// Makes the view, or mends it; whether anything had to be changed.
pub(super) fn make(view: &Path, torch: &Torch) -> Result<bool> {
    fs::create_dir_all(view.join("lib")).with_context(|| format!("cannot make {}", view.display()))?;
    let mut changed = false;
    for (name, target) in links(torch)? {
        changed |= link(&view.join(&name), &relative(&view.join(name), &target))?;
    }
    // circuit-torch's build script watches this file: the age of a library does not show that it is another one.
    changed |= write_if_new(&view.join("target"), &torch.root.to_string_lossy())?;
    changed |= write_if_new(&view.join("build-version"), &torch.version)?;
    Ok(changed)
}

/// The links: name in the view, and what it points to.
fn links(torch: &Torch) -> Result<Vec<(PathBuf, PathBuf)>> {
    let lib = torch.root.join("lib");
    let mut links = vec![
        ("include".into(), torch.root.join("include")),
        ("lib/libc10.so".into(), lib.join("libc10.so")),
        ("lib/libtorch_cpu.so".into(), lib.join("libtorch_cpu.so")),
        // The real libtorch.so only draws in the others, the CUDA half among them.
        ("lib/libtorch.so".into(), lib.join("libtorch_cpu.so")),
    ];
    // LibTorch's own, where it brings one (under a name of its own); else the linker finds the compiler's.
    for entry in fs::read_dir(&lib).with_context(|| format!("cannot read {}", lib.display()))? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with("libgomp") {
            links.push(("lib/libgomp.so".into(), lib.join(name)));
            break;
        }
    }
    Ok(links)
}

/// Makes a link, unless it is there already; whether it had to be made.
fn link(name: &Path, target: &Path) -> Result<bool> {
    if fs::read_link(name).is_ok_and(|found| found == target) {
        return Ok(false);
    }
    let place = || -> std::io::Result<()> {
        if fs::symlink_metadata(name).is_ok_and(|m| m.is_dir()) {
            fs::remove_dir_all(name)?;
        }
        let new = name.with_extension("new");
        let _ = fs::remove_file(&new);
        symlink(target, &new)?;
        fs::rename(&new, name)
    };
    place().with_context(|| format!("cannot make the link {}", name.display()))?;
    Ok(true)
}

fn write_if_new(path: &Path, content: &str) -> Result<bool> {
    if fs::read_to_string(path).is_ok_and(|found| found == content) {
        return Ok(false);
    }
    write_atomically(path, content.as_bytes())?;
    Ok(true)
}

/// The target as seen from the link where both lie in `.libtorch`, so that a checkout can be moved; else as it is.
fn relative(link: &Path, target: &Path) -> PathBuf {
    let link = link.parent().unwrap_or(link).components().collect::<Vec<_>>();
    let parts = target.components().collect::<Vec<_>>();
    let shared = link.iter().zip(&parts).take_while(|(a, b)| a == b).count();
    if !link[..shared].contains(&Component::Normal(".libtorch".as_ref())) {
        return target.into();
    }
    let up = link[shared..].iter().map(|_| Component::ParentDir);
    up.chain(parts[shared..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::state::Source;
    use super::*;

    #[test]
    fn the_view_is_made_once_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join(".libtorch");
        let root = home.join("site/torch");
        fs::create_dir_all(root.join("lib")).unwrap();
        fs::create_dir_all(root.join("include")).unwrap();
        for name in ["libc10.so", "libtorch_cpu.so", "libtorch.so", "libtorch_cuda.so", "libgomp-abc.so.1"] {
            fs::write(root.join("lib").join(name), name).unwrap();
        }
        let view = home.join("view");
        let version = "2.11.0".into();
        let torch = Torch { root: root.clone(), source: Source::Wheels, version, has_cuda: true };
        assert!(make(&view, &torch).unwrap());
        assert!(!make(&view, &torch).unwrap(), "the second time nothing is to do");
        let read = |name: &str| fs::read_to_string(view.join("lib").join(name)).unwrap();
        assert_eq!(read("libtorch.so"), "libtorch_cpu.so");
        assert_eq!(read("libgomp.so"), "libgomp-abc.so.1");
        assert!(!view.join("lib/libtorch_cuda.so").exists());

        fs::remove_file(view.join("lib/libc10.so")).unwrap();
        fs::create_dir(view.join("lib/libc10.so")).unwrap();
        fs::write(view.join("target"), "elsewhere").unwrap();
        assert!(make(&view, &torch).unwrap());
        assert_eq!(read("libc10.so"), "libc10.so");
        assert!(!make(&view, &torch).unwrap());

        let moved = dir.path().join("moved");
        fs::create_dir(&moved).unwrap();
        fs::rename(&home, moved.join(".libtorch")).unwrap();
        assert!(moved.join(".libtorch/view/lib/libtorch_cpu.so").is_file(), "the links are relative");
    }

    #[test]
    fn links_out_of_our_folder_are_absolute() {
        let link = Path::new("/checkout/.libtorch/view/lib/libc10.so");
        assert_eq!(
            relative(link, Path::new("/opt/torch/lib/libc10.so")),
            Path::new("/opt/torch/lib/libc10.so")
        );
        assert_eq!(
            relative(link, Path::new("/checkout/.libtorch/site/torch/lib/libc10.so")),
            Path::new("../../site/torch/lib/libc10.so")
        );
    }
}
