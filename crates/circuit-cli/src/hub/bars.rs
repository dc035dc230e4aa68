//! Bars for what is fetched: one for all of it, one for each file under way.

use circuit_hub::{Fetched, Progress, Snapshot};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::sync::{Mutex, PoisonError};

/// Smaller files come too quickly for a bar of their own.
const LARGE: u64 = 8 << 20;

pub(super) struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    /// What of each file is there; the bars of large ones.
    files: Vec<File>,
    done: Mutex<Vec<u64>>,
}

struct File {
    name: String,
    size: u64,
    bar: Mutex<Option<ProgressBar>>,
}

impl Bars {
    pub(super) fn new(files: &[(&Snapshot, &str)], looked: &[Fetched]) -> Self {
        let all = MultiProgress::new();
        let size = looked.iter().map(|file| file.size).sum();
        let total = ProgressBar::new(size);
        let total =
            if looked.iter().any(|file| file.missing > 0) { all.add(total) } else { ProgressBar::hidden() };
        total.set_style(style("all"));
        let done: Vec<_> = looked.iter().map(|file| file.size.saturating_sub(file.missing)).collect();
        total.set_position(done.iter().sum());
        total.reset_eta();
        let file = |((_, name), looked): (&(&Snapshot, &str), &Fetched)| File {
            name: name.rsplit('/').next().unwrap_or(name).to_owned(),
            size: looked.size,
            bar: Mutex::new(None),
        };
        let files = files.iter().zip(looked).map(file).collect();
        Self { all, total, files, done: Mutex::new(done) }
    }

    pub(super) fn tell(&self, event: Progress) {
        match event {
            Progress::Waiting { file } => {
                let name = &self.files[file].name;
                let _ = self.all.println(format!("note: another program is fetching {name}; waiting for it"));
            }
            Progress::Bytes { file, done } => {
                self.note(file, done);
                let at = &self.files[file];
                if at.size < LARGE {
                    return;
                }
                let mut bar = at.bar.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bar.get_or_insert_with(|| {
                    let bar = self.all.add(ProgressBar::new(at.size));
                    bar.set_style(style(&at.name));
                    bar
                });
                bar.set_position(done);
            }
            Progress::Finished { file } => {
                self.note(file, self.files[file].size);
                if let Some(bar) = self.files[file].bar.lock().unwrap_or_else(PoisonError::into_inner).take()
                {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn note(&self, file: usize, bytes: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done[file] = bytes;
        self.total.set_position(done.iter().sum());
    }

    pub(super) fn finish(&self) {
        self.total.finish_and_clear();
        let _ = self.all.clear();
    }
}

fn style(name: &str) -> ProgressStyle {
    // A name is no template.
    let name = name.replace('{', "{{").replace('}', "}}");
    let template = format!("{name} {{bar:30}} {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}}");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
