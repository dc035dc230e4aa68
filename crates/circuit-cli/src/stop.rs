//! Ctrl-C and its like while files are written: nothing half-written stays behind.
//!
//! The process still ends by the signal, as a shell expects. Not here: the server's graceful stop.

use crate::failure::{Code, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

/// While it lives, a signal to stop first removes what is only half written.
pub(crate) struct CleanStop(Handle);

impl CleanStop {
    /// Begins to wait for signals.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| Failure::new(Code::Other, format!("cannot wait for signals: {e}"));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let handle = signals.handle();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                circuit_format::remove_unfinished();
                let _ = emulate_default_handler(signal);
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for CleanStop {
    fn drop(&mut self) {
        self.0.close();
    }
}
