//! Notes, warnings and timings on standard error. A reader that has gone away or a full disk there must not end the work.

use circuit_index::Notice;
use std::collections::HashSet;
use std::fmt::Display;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};

/// One line on standard error, or none if it cannot be written.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints what a library noticed, each sentence once in a run: a plan and the work after it open the same files.
pub(crate) fn say_notices<'a>(notices: impl IntoIterator<Item = &'a Notice>) {
    static SAID: LazyLock<Mutex<HashSet<Notice>>> = LazyLock::new(Mutex::default);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    for notice in notices {
        if said.insert(notice.clone()) {
            say(notice);
        }
    }
}
