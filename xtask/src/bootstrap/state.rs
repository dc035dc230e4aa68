//! `.libtorch/state.json`: what was chosen, and what our own wheels hold, file by file, so that damage is found.
//!
//! A state that cannot be read counts as none: everything is then looked for or installed again.

use super::find::Torch;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The layout of the file; another number is another layout, and is not read.
const FORMAT: u64 = 1;

/// Where a PyTorch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The environment variable LIBTORCH.
    Variable,
    /// The active Python.
    Python,
    /// Wheels that we installed.
    Wheels,
}

impl Source {
    const ALL: [(Self, &str); 3] =
        [(Self::Variable, "LIBTORCH"), (Self::Python, "python"), (Self::Wheels, "wheels")];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(source, _)| *source == self).expect("all are listed").1
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "named by LIBTORCH",
            Self::Python => "of the active Python",
            Self::Wheels => "own wheels",
        })
    }
}

/// What a LibTorch is to serve; more is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Set {
    /// What the CPU needs.
    #[default]
    Cpu,
    /// All that CUDA needs as well.
    Cuda,
}

/// Size and CRC-32 of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size: u64,
    pub(super) crc: u32,
}

/// One unpacked wheel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wheel {
    pub(super) version: String,
    /// By path below `site/`; none while the wheel is being installed.
    pub(super) files: BTreeMap<String, Stamp>,
}

/// Everything remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) source: Option<Source>,
    /// Root of the PyTorch in use, relative to `.libtorch` where it lies there.
    pub(super) root: Option<PathBuf>,
    /// How much our own wheels hold.
    pub(super) set: Set,
    /// Whether a program was compiled against it and loaded it.
    pub(super) probed: bool,
    /// By normalised name.
    pub(super) wheels: BTreeMap<String, Wheel>,
}

impl State {
    /// Reads the file; whatever cannot be read is an empty state.
    pub(super) fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).ok().and_then(|value| Self::from_json(&value)).unwrap_or_default()
    }

    /// Writes the file, all or nothing.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        super::write_atomically(path, self.to_json().to_string().as_bytes())
    }

    /// Notes the PyTorch to use; whether that is another one than before.
    pub(super) fn choose(&mut self, torch: &Torch, home: &Path) -> bool {
        let root = torch.root.strip_prefix(home).unwrap_or(&torch.root).to_owned();
        let changed = self.source != Some(torch.source) || self.root.as_ref() != Some(&root);
        (self.source, self.root) = (Some(torch.source), Some(root));
        changed
    }

    /// What is wrong with the installed wheels: by name of the wheel, the first fault and how many more.
    pub(super) fn damage(&self, site: &Path, contents: bool) -> BTreeMap<String, String> {
        let faults = |wheel: &Wheel| {
            if wheel.files.is_empty() {
                return Some("it is not wholly installed".into());
            }
            let mut faults =
                wheel.files.iter().filter_map(|(path, stamp)| fault(site, path, *stamp, contents));
            let first = faults.next()?;
            Some(match faults.count() {
                0 => first,
                more => format!("{first}, and {more} more"),
            })
        };
        self.wheels.iter().filter_map(|(name, wheel)| Some((name.clone(), faults(wheel)?))).collect()
    }

    fn to_json(&self) -> Value {
        let wheel = |wheel: &Wheel| {
            let files = wheel.files.iter().map(|(path, s)| (path.clone(), json!([s.size, s.crc])));
            json!({ "version": wheel.version, "files": files.collect::<Map<_, _>>() })
        };
        json!({
            "format": FORMAT,
            "source": self.source.map(Source::name),
            "root": self.root.as_ref().map(|root| root.to_string_lossy()),
            "cuda": self.set == Set::Cuda,
            "probed": self.probed,
            "wheels": self.wheels.iter().map(|(name, w)| (name.clone(), wheel(w))).collect::<Map<_, _>>(),
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value["format"].as_u64()? != FORMAT {
            return None;
        }
        let stamp = |value: &Value| {
            Some(Stamp { size: value[0].as_u64()?, crc: u32::try_from(value[1].as_u64()?).ok()? })
        };
        let wheel = |value: &Value| {
            let files = value["files"].as_object()?.iter().map(|(path, s)| Some((path.clone(), stamp(s)?)));
            Some(Wheel { version: value["version"].as_str()?.into(), files: files.collect::<Option<_>>()? })
        };
        let wheels = value["wheels"].as_object()?.iter().map(|(name, w)| Some((name.clone(), wheel(w)?)));
        let source = value["source"].as_str();
        Some(Self {
            source: Source::ALL.iter().find(|(_, name)| Some(*name) == source).map(|(source, _)| *source),
            root: value["root"].as_str().map(PathBuf::from),
            set: if value["cuda"].as_bool()? { Set::Cuda } else { Set::Cpu },
            probed: value["probed"].as_bool()?,
            wheels: wheels.collect::<Option<_>>()?,
        })
    }
}

/// What is wrong with one file, if anything.
fn fault(site: &Path, path: &str, stamp: Stamp, contents: bool) -> Option<String> {
    let file = site.join(path);
    let Ok(metadata) = fs::symlink_metadata(&file) else { return Some(format!("{path} is missing")) };
    if !metadata.is_file() {
        return Some(format!("{path} is no file"));
    }
    if metadata.len() != stamp.size {
        return Some(format!("{path} has {} bytes instead of {}", metadata.len(), stamp.size));
    }
    if contents {
        match crc(&file) {
            Ok(found) if found == stamp.crc => {}
            Ok(_) => return Some(format!("{path} has another content")),
            Err(error) => return Some(format!("{error:#}")),
        }
    }
    None
}

/// The CRC-32 of a file.
fn crc(path: &Path) -> Result<u32> {
    let read = || -> std::io::Result<u32> {
        let mut file = File::open(path)?;
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finalize()),
                n => hasher.update(&buffer[..n]),
            }
        }
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(site: &Path) -> State {
        fs::create_dir_all(site.join("torch/lib")).unwrap();
        fs::write(site.join("torch/lib/a.so"), b"abc").unwrap();
        fs::write(site.join("torch/lib/b.so"), b"defg").unwrap();
        let stamp = |bytes: &[u8]| Stamp { size: bytes.len() as u64, crc: crc32fast::hash(bytes) };
        let files = [("torch/lib/a.so".into(), stamp(b"abc")), ("torch/lib/b.so".into(), stamp(b"defg"))];
        let wheel = Wheel { version: "2.11.0".into(), files: files.into() };
        State {
            source: Some(Source::Wheels),
            root: Some("site/torch".into()),
            set: Set::Cuda,
            probed: true,
            wheels: [("torch".into(), wheel)].into(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        let state = example(dir.path());
        state.save(&file).unwrap();
        assert_eq!(State::load(&file), state);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
    }

    #[test]
    fn a_missing_cut_off_or_foreign_state_is_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state.json");
        assert_eq!(State::load(&file), State::default());
        let text = example(dir.path()).to_json().to_string();
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        assert_eq!(State::load(&file), State::default());
        fs::write(&file, text.replace(r#""format":1"#, r#""format":2"#)).unwrap();
        assert_eq!(State::load(&file), State::default());
    }

    #[test]
    fn damage_is_found_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let state = example(dir.path());
        let (a, b) = (dir.path().join("torch/lib/a.so"), dir.path().join("torch/lib/b.so"));
        let damage = |contents| state.damage(dir.path(), contents).get("torch").cloned();
        assert_eq!(damage(true), None);
        fs::write(&a, b"abX").unwrap();
        assert_eq!(damage(false), None, "sizes alone cannot show this");
        assert_eq!(damage(true).unwrap(), "torch/lib/a.so has another content");
        fs::write(&a, b"ab").unwrap();
        assert_eq!(damage(false).unwrap(), "torch/lib/a.so has 2 bytes instead of 3");
        fs::remove_file(&b).unwrap();
        assert_eq!(damage(false).unwrap(), "torch/lib/a.so has 2 bytes instead of 3, and 1 more");
        fs::remove_file(&a).unwrap();
        fs::create_dir(&a).unwrap();
        assert!(damage(false).unwrap().starts_with("torch/lib/a.so is no file"));
    }

    #[test]
    fn our_own_root_is_noted_relative_so_that_the_checkout_can_move() {
        let mut state = State::default();
        let home = Path::new("/checkout/.libtorch");
        let torch =
            |root: PathBuf| Torch { root, source: Source::Wheels, version: "2.11.0".into(), has_cuda: true };
        assert!(state.choose(&torch(home.join("site/torch")), home));
        assert_eq!(state.root.as_deref(), Some(Path::new("site/torch")));
        assert!(!state.choose(&torch(home.join("site/torch")), home));
        assert!(state.choose(&torch("/elsewhere/torch".into()), home));
        assert_eq!(state.root.as_deref(), Some(Path::new("/elsewhere/torch")));
    }
}
