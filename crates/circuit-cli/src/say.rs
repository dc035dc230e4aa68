//! Notes, warnings and timings on standard error. A reader that has gone away or a full disk there must not end the work.

use std::fmt::Display;
use std::io::Write;

/// One line on standard error, or none if it cannot be written.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
