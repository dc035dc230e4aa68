//! Installing PyTorch from wheels: pip fetches them (it knows this machine's registries, proxies and cache), we unpack
//! them side by side, which needs no Python of a fitting version.
//!
//! Each wheel goes its own way, so that an interruption costs one wheel at most: fetch, unpack beside `site/`, forget
//! the old one, move the files into place, remember. A wheel counts as installed only when it is remembered and all its
//! files have their size.

use super::find::VERSION;
use super::needs::{self, Need, pip};
use super::state::{Set, Stamp, State, Wheel};
use super::{Home, remove_folder};
use crate::shell;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use zip::ZipArchive;

/// The smallest set that runs: LibTorch itself, and the two libraries that its CPU half asks for.
const CPU_WHEELS: [(&str, &str); 3] =
    [("torch", "2.11.0"), ("nvidia-cuda-runtime", "13.0.96"), ("nvidia-cuda-cupti", "13.0.85")];

/// The minor versions of glibc 2 that wheels may be made for: those of a machine with 2.28, and all before it since wheels name
/// it. pip must be told each by itself: the parts of CUDA are made for different ones.
const GLIBC: std::ops::RangeInclusive<u32> = 17..=28;

/// Installs what is missing or damaged; `contents` asks to compare checksums, too.
pub(super) fn install(home: &Home, state: &mut State, set: Set, contents: bool) -> Result<()> {
    let broken = note_broken(home, state, contents)?;
    check_needs(home, state, set, &broken)?;
    if !broken.is_empty() {
        let exact: Vec<_> = broken.iter().map(|(name, version)| format!("{name}=={version}")).collect();
        fetch(home, &exact, Dependencies::Ignore)?;
        unpack_all(home, state)?;
    }
    if set > state.set {
        let metadata = home.site().join(format!("torch-{}.dist-info/METADATA", CPU_WHEELS[0].1));
        let text =
            fs::read_to_string(&metadata).with_context(|| format!("cannot read {}", metadata.display()))?;
        fetch(home, &cuda_requirements(&text)?, Dependencies::Follow)?;
        unpack_all(home, state)?;
        state.set = set;
        state.save(&home.state_file())?;
    }
    let left = note_broken(home, state, false)?;
    ensure!(left.is_empty(), "pip did not bring {}", left.into_keys().collect::<Vec<_>>().join(", "));
    remove_strangers(&home.site(), Path::new(""), state).map(drop)
}

/// The wheels to install again or for the first time, with their versions. Damaged ones are noted as such for good: they
/// stay so until they are installed again, whatever comes between.
fn note_broken(home: &Home, state: &mut State, contents: bool) -> Result<BTreeMap<String, String>> {
    let mut broken = BTreeMap::new();
    for (name, fault) in state.damage(&home.site(), contents) {
        println!("Damaged: {name}: {fault}");
        let wheel = state.wheels.get_mut(&name).expect("damage names known wheels");
        wheel.files.clear();
        broken.insert(name, wheel.version.clone());
    }
    if !broken.is_empty() {
        state.save(&home.state_file())?;
    }
    let other =
        |name: &str, version: &str| state.wheels.get(name).is_none_or(|wheel| wheel.version != version);
    let basic = CPU_WHEELS.iter().filter(|(name, version)| other(name, version));
    broken.extend(basic.map(|&(name, version)| (name.into(), version.into())));
    Ok(broken)
}

/// Looks for everything at once before the long download begins.
fn check_needs(home: &Home, state: &State, set: Set, broken: &BTreeMap<String, String>) -> Result<()> {
    // Downloads lie there twice for a moment (pip copies them), beside what is unpacked.
    let mut room = if broken.contains_key("torch") { 2_500_000_000 } else { 500_000_000 };
    if set > state.set {
        room += 8_000_000_000;
    } else if state.set == Set::Cuda {
        room += 2_000_000_000;
    }
    needs::check(&[Need::Compiler, Need::Pip, Need::Room(&home.path, room)])
}

/// What the METADATA of the wheel of torch asks for on Linux, as far as it is libraries of CUDA: the Python packages
/// among its requirements are of no use here.
fn cuda_requirements(metadata: &str) -> Result<Vec<String>> {
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let required = head.lines().filter_map(|line| line.strip_prefix("Requires-Dist:"));
    let linux = required.filter_map(|line| {
        let (what, marker) = line.split_once(';')?;
        marker.replace('\'', "\"").contains("platform_system == \"Linux\"").then(|| what.trim().to_owned())
    });
    let found: Vec<_> =
        linux.filter(|what| what.starts_with("nvidia-") || what.starts_with("cuda-toolkit")).collect();
    ensure!(!found.is_empty(), "the METADATA of torch {VERSION} names no CUDA libraries for Linux");
    Ok(found)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dependencies {
    Ignore,
    Follow,
}

/// Has pip download wheels for Linux on x86-64, whatever Python it runs on.
fn fetch(home: &Home, requirements: &[String], dependencies: Dependencies) -> Result<()> {
    println!("Fetching {}", requirements.join(", "));
    // pip's own temporary files are as large as the wheels: too large for many a /tmp.
    fs::create_dir_all(home.tmp()).with_context(|| format!("cannot make {}", home.tmp().display()))?;
    let mut command: Command = pip();
    command.env("TMPDIR", home.tmp()).arg("download").arg("--dest").arg(home.downloads());
    command.args(["--only-binary=:all:", "--implementation=cp", "--python-version=3.12"]);
    command.args(GLIBC.rev().map(|minor| format!("--platform=manylinux_2_{minor}_x86_64")));
    command.arg("--platform=manylinux2014_x86_64"); // the older name of 2.17
    if dependencies == Dependencies::Ignore {
        command.arg("--no-deps");
    }
    shell::run(command.args(requirements)).context("pip cannot download LibTorch; what it said stands above")
}

/// Installs all downloaded wheels and removes them. One that cannot be unpacked is removed too, so that the next try
/// fetches it anew.
fn unpack_all(home: &Home, state: &mut State) -> Result<()> {
    let mut wheels: Vec<PathBuf> = fs::read_dir(home.downloads())
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>())
        .with_context(|| format!("cannot read {}", home.downloads().display()))?;
    wheels.sort();
    for path in wheels {
        let result = unpack(home, state, &path);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        remove_folder(&home.tmp())?;
        result.with_context(|| {
            format!("cannot install {}; run bootstrap again to fetch it anew", path.display())
        })?;
    }
    remove_folder(&home.downloads())
}

/// Installs one wheel, unless the same one is there and whole (another wheel's dependency, say).
fn unpack(home: &Home, state: &mut State, path: &Path) -> Result<()> {
    let (name, version) = name_and_version(path)?;
    if state.wheels.get(&name).is_some_and(|wheel| wheel.version == version && !wheel.files.is_empty()) {
        return Ok(());
    }
    println!("Unpacking {name} {version}");
    let beside = home.tmp().join(&name);
    let files = extract(path, &beside)?;
    // From here until all files are in place the wheel counts as damaged: it has none.
    state.wheels.insert(name.clone(), Wheel { version, ..Wheel::default() });
    state.probed = false;
    state.save(&home.state_file())?;
    for file in files.keys() {
        place(&beside.join(file), &home.site().join(file))?;
    }
    state.wheels.get_mut(&name).expect("just inserted").files = files;
    state.save(&home.state_file())
}

/// The normalised name and the version from a file name such as `nvidia_cuda_runtime-13.0.96-py3-none-….whl`.
fn name_and_version(path: &Path) -> Result<(String, String)> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut parts = file.strip_suffix(".whl").unwrap_or_default().split('-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(version), Some(_)) if !name.is_empty() => {
            Ok((name.to_ascii_lowercase().replace(['_', '.'], "-"), version.into()))
        }
        _ => bail!("{file} is not named like a wheel"),
    }
}

/// Unpacks the files that we need; their sizes and checksums, which unpacking compares with those in the wheel.
fn extract(wheel: &Path, into: &Path) -> Result<BTreeMap<String, Stamp>> {
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(wheel)?))?;
    let mut files = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i)?;
        let path = entry.enclosed_name().ok_or_else(|| anyhow!("its entry {i} leads out of the wheel"))?;
        let name = path.to_str().context("a name that is not UTF-8")?.to_owned();
        if entry.is_dir() || !needed(&name) {
            continue;
        }
        let target = into.join(&path);
        fs::create_dir_all(target.parent().expect("a file has a folder"))?;
        let written = io::copy(&mut entry, &mut File::create(&target)?).with_context(|| name.clone())?;
        ensure!(written == entry.size(), "{name} has {written} bytes instead of {}", entry.size());
        files.insert(name, Stamp { size: written, crc: entry.crc32() });
    }
    Ok(files)
}

/// Libraries, LibTorch's headers, its version, and what a wheel says about itself (the licences among it): a tenth of the
/// files. The Python half is not needed.
fn needed(path: &str) -> bool {
    let mut parts = path.split('/');
    match (parts.next(), parts.next()) {
        (Some(top), _) if top.ends_with(".dist-info") => true,
        (Some("torch"), Some("lib" | "include" | "version.py")) => true,
        (Some("nvidia"), _) => path.contains("/lib/") && path.contains(".so"),
        _ => false,
    }
}

/// Moves a file to its place on the same file system; programs that run keep the old one.
fn place(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().expect("a file has a folder");
    let put = || {
        fs::create_dir_all(folder)?;
        if fs::symlink_metadata(to).is_ok_and(|m| m.is_dir()) {
            fs::remove_dir_all(to)?;
        }
        fs::rename(from, to)
    };
    put().with_context(|| format!("cannot move a file to {}", to.display()))
}

/// Removes files that belong to no wheel: leftovers of an interrupted or foreign install, which could be found first.
/// Whether the folder is empty afterwards.
fn remove_strangers(site: &Path, folder: &Path, state: &State) -> Result<bool> {
    let mut empty = true;
    for entry in fs::read_dir(site.join(folder)).with_context(|| format!("cannot read {}", site.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let name = path.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if remove_strangers(site, &path, state)? {
                fs::remove_dir(entry.path())?;
            } else {
                empty = false;
            }
        } else if state.wheels.values().any(|wheel| wheel.files.contains_key(name.as_ref())) {
            empty = false;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// A folder like `.libtorch`, with a wheel of the given files among the downloads.
    fn home_with_wheel(files: &[(&str, &str)]) -> (tempfile::TempDir, Home, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path().join(".libtorch")).unwrap();
        fs::create_dir_all(home.downloads()).unwrap();
        let wheel = home.downloads().join("Nvidia_Some.Lib-1.2-py3-none-manylinux_2_28_x86_64.whl");
        let mut zip = ZipWriter::new(File::create(&wheel).unwrap());
        for (name, content) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        (dir, home, wheel)
    }

    const FILES: [(&str, &str); 4] = [
        ("nvidia/some/lib/liba.so.1", "library a"),
        ("nvidia/some/lib/libb.so.1", "library b"),
        ("nvidia/some/include/a.h", "not needed"),
        ("nvidia_some-1.2.dist-info/RECORD", "record"),
    ];
    const NAME: &str = "nvidia-some-lib";

    #[test]
    fn a_wheel_is_unpacked_remembered_and_its_download_removed() {
        let (_dir, home, wheel) = home_with_wheel(&FILES);
        let mut state = State::default();
        unpack_all(&home, &mut state).unwrap();
        assert_eq!(fs::read_to_string(home.site().join(FILES[1].0)).unwrap(), "library b");
        assert!(!home.site().join(FILES[2].0).exists());
        assert!(!wheel.exists() && !home.downloads().exists() && !home.tmp().exists());
        assert_eq!(State::load(&home.state_file()), state);
        assert_eq!((state.wheels[NAME].version.as_str(), state.wheels[NAME].files.len()), ("1.2", 3));
        assert!(state.damage(&home.site(), true).is_empty(), "the noted checksums are right");
    }

    #[test]
    fn damage_is_repaired_by_the_same_wheel() {
        let (_dir, home, wheel) = home_with_wheel(&FILES);
        let kept = home.path.join("kept.whl");
        fs::copy(&wheel, &kept).unwrap();
        let mut state = State::default();
        unpack_all(&home, &mut state).unwrap();
        fs::remove_file(home.site().join(FILES[0].0)).unwrap();
        fs::write(home.site().join(FILES[1].0), "library X").unwrap();
        fs::create_dir_all(home.downloads()).unwrap();

        let broken = note_broken(&home, &mut state, true).unwrap();
        assert_eq!(broken[NAME], "1.2");
        fs::rename(&kept, &wheel).unwrap();
        unpack_all(&home, &mut state).unwrap();
        assert!(state.damage(&home.site(), true).is_empty());
        assert!(!note_broken(&home, &mut state, true).unwrap().contains_key(NAME));
    }

    #[test]
    fn an_install_cut_off_while_files_move_is_seen_next_time() {
        let (_dir, home, wheel) = home_with_wheel(&FILES);
        let mut state = State::default();
        // A folder where a file must go, and that cannot be removed since it is no folder's child: the move fails.
        fs::create_dir_all(home.site()).unwrap();
        fs::write(home.site().join("nvidia"), "in the way").unwrap();
        unpack(&home, &mut state, &wheel).unwrap_err();
        let mut later = State::load(&home.state_file());
        assert_eq!(later.damage(&home.site(), false)[NAME], "it is not wholly installed");
        fs::remove_file(home.site().join("nvidia")).unwrap();
        unpack(&home, &mut later, &wheel).unwrap();
        assert!(later.damage(&home.site(), true).is_empty());
    }

    #[test]
    fn a_damaged_download_is_refused_and_removed() {
        let (_dir, home, wheel) = home_with_wheel(&FILES);
        let mut bytes = fs::read(&wheel).unwrap();
        let at = bytes.windows(9).position(|w| w == b"liba.so.1").unwrap() + 12;
        bytes[at] ^= 0xff;
        fs::write(&wheel, &bytes).unwrap();
        let mut state = State::default();
        let error = unpack_all(&home, &mut state).unwrap_err();
        assert!(format!("{error:#}").contains("run bootstrap again"), "{error:#}");
        assert!(!wheel.exists() && state.wheels.is_empty());
    }

    #[test]
    fn a_wheel_cannot_write_outside() {
        let (dir, home, _wheel) = home_with_wheel(&[("../../torch/lib/evil.so", "x")]);
        assert!(unpack_all(&home, &mut State::default()).is_err());
        assert!(!dir.path().join("torch").exists());
    }

    #[test]
    fn strangers_go_and_the_rest_stays() {
        let (_dir, home, _wheel) = home_with_wheel(&FILES);
        let mut state = State::default();
        unpack_all(&home, &mut state).unwrap();
        fs::create_dir_all(home.site().join("torch/deep/er")).unwrap();
        fs::write(home.site().join("torch/deep/er/x.py"), "").unwrap();
        fs::write(home.site().join("nvidia/some/lib/libold.so"), "").unwrap();
        assert!(!remove_strangers(&home.site(), Path::new(""), &state).unwrap());
        assert!(!home.site().join("torch").exists());
        assert!(!home.site().join("nvidia/some/lib/libold.so").exists());
        assert!(state.damage(&home.site(), true).is_empty());
    }

    #[test]
    fn the_first_install_wants_the_smallest_set() {
        let (_dir, home, _wheel) = home_with_wheel(&[]);
        let broken = note_broken(&home, &mut State::default(), false).unwrap();
        let wanted: BTreeMap<_, _> = CPU_WHEELS.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        assert_eq!(broken, wanted);
    }

    #[test]
    fn the_cuda_libraries_are_read_from_the_metadata() {
        let metadata = "\
Metadata-Version: 2.4
Requires-Dist: filelock
Requires-Dist: cuda-toolkit[cublas,cudart]==13.0.2; platform_system == \"Linux\"
Requires-Dist: cuda-bindings<14,>=13.0.3; platform_system == \"Linux\"
Requires-Dist: nvidia-cudnn-cu13==9.19.0.56; platform_system == 'Linux'
Requires-Dist: nvidia-elsewhere==1; platform_system == \"Windows\"
Requires-Dist: triton==3.6.0; platform_system == \"Linux\"

Requires-Dist: nvidia-in-the-description; platform_system == \"Linux\"
";
        let expected = ["cuda-toolkit[cublas,cudart]==13.0.2", "nvidia-cudnn-cu13==9.19.0.56"];
        assert_eq!(cuda_requirements(metadata).unwrap(), expected);
        assert!(cuda_requirements("Requires-Dist: filelock\n").is_err());
    }

    #[test]
    fn names_of_wheels_are_normalised() {
        let read = |name: &str| name_and_version(Path::new(name)).ok();
        assert_eq!(read("/x/nvidia_cuda_runtime-13.0.96-py3-none-any.whl").unwrap().0, "nvidia-cuda-runtime");
        assert_eq!(read("torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl").unwrap().1, "2.11.0");
        for wrong in ["torch-2.11.0.tar.gz", "torch.whl", ".whl", "-1-py3.whl"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
