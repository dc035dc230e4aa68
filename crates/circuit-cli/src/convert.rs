//! `convert`: a readable transcoder set, rewritten into the mapped layout.
//!
//! Layer by layer; each file is there whole or not at all, and the config comes last, so that half a set is none.

use crate::args::ConvertArgs;
use crate::failure::{Code, Failure};
use crate::hub::Finder;
use crate::open::kind;
use crate::say::{say, say_notices};
use crate::stop::CleanStop;
use circuit_format::{FormatError, write_atomically};
use circuit_transcoder::{Conversion, MappedFile, TranscoderError};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::Write;
use std::path::Path;
use tch::Kind;

pub(crate) fn run(args: &ConvertArgs) -> Result<String, Failure> {
    let found = Finder::new(args.offline).find(None, Some(&args.set), false)?.1;
    let source = found.ok_or_else(|| Failure::usage("no transcoder set"))?.folder;
    let set = Conversion::open(&source)?;
    say_notices(set.notices());
    let source = source.path;
    let folder = &args.output;
    prepare(folder, &set, args.overwrite)?;

    let kind = args.dtype.map(kind);
    let bar = ProgressBar::new(set.n_layers() as u64);
    if let Ok(style) = ProgressStyle::with_template("layers {bar:40} {pos}/{len} {elapsed} {eta}") {
        bar.set_style(style);
    }
    let _stop = CleanStop::begin()?;
    let (mut n_files, mut n_bytes) = (1, 0);
    for layer in 0..set.n_layers() {
        for file in set.layer(layer)? {
            n_bytes += write(folder, &file, kind, &source)?;
            n_files += 1;
        }
        bar.inc(1);
    }
    let (name, text) = set.config();
    let path = folder.join(name);
    write_atomically(&path, |out| out.write_all(text.as_bytes())).map_err(Failure::writing)?;
    bar.finish_and_clear();

    if let Some(what) = set.beyond_python()? {
        say(format_args!("note: the Python library may not read {what}"));
    }
    if source.join("features").is_dir() {
        let (scan, pages) = (set.info().scan, source.display());
        say(format_args!("note: feature pages stay where they are: serve --features-dir {scan}={pages}"));
    }
    let [from, to] = set.layouts();
    Ok(format!("{}: {n_files} files, {n_bytes} bytes; {from} -> {to}\n", folder.display()))
}

/// The folder must be there and hold nothing, or nothing but what may be replaced.
fn prepare(folder: &Path, set: &Conversion, overwrite: bool) -> Result<(), Failure> {
    let failed = |action: &str, e: std::io::Error| {
        Failure::new(Code::Output, format!("{}: cannot {action}: {e}", folder.display()))
    };
    fs::create_dir_all(folder).map_err(|e| failed("make this folder", e))?;
    let whole = folder.canonicalize().map_err(|e| failed("find this folder", e))?;
    let is_read = |file: &Path| file.canonicalize().is_ok_and(|file| file.parent() == Some(&whole));
    if set.sources().iter().any(|file| is_read(file)) {
        let message = format!("{}: the set's own files lie there", folder.display());
        return Err(Failure::new(Code::Output, message).hint("choose another folder"));
    }
    let entries = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
    let entries = entries.map_err(|e| failed("read this folder", e))?;
    if !entries.is_empty() && !overwrite {
        let message = format!("{}: the folder is not empty", folder.display());
        return Err(Failure::new(Code::Output, message).hint("--overwrite replaces a set that is there"));
    }
    // The config first: without it, what is left is no set.
    let mapped = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(Conversion::is_mapped);
    let mut stale: Vec<_> = entries.iter().filter(|entry| mapped(entry)).map(fs::DirEntry::path).collect();
    stale.sort_by_key(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    stale.iter().try_for_each(fs::remove_file).map_err(|e| failed("take old files out of this folder", e))
}

/// Writes a file into a folder; how many bytes.
fn write(folder: &Path, file: &MappedFile, kind: Option<Kind>, from: &Path) -> Result<u64, Failure> {
    let path = folder.join(file.name());
    let written = write_atomically(&path, |out| {
        let mut out = Counted { out, bytes: 0 };
        file.write(kind, &mut out).map(|()| out.bytes)
    });
    written.map_err(|error| match &error {
        FormatError::Io { source, .. } if source.get_ref().is_some_and(|e| e.is::<TranscoderError>()) => {
            Failure::new(Code::Input, format!("{} cannot be rewritten: {source}", from.display()))
        }
        _ => Failure::writing(error),
    })
}

/// Counts what passes.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
