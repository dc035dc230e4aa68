//! The private state of runs on disk, in bincode: it is read by the version that wrote it, and by nobody else.
//!
//! The only use of bincode. Whatever others may read is safetensors, YAML or JSON.

use crate::Settings;
use serde::{Deserialize, Serialize};

/// Counted up with every change of what stands below.
const VERSION: u32 = 3;

/// Whose checkpoint it is, and how far it got.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    version: u32,
    pub(crate) settings: Settings,
    pub(crate) run: u64,
    pub(crate) step: u64,
}

impl RunState {
    pub(crate) fn new(settings: Settings, run: u64, step: usize) -> Self {
        Self { version: VERSION, settings, run, step: step as u64 }
    }

    pub(crate) fn write(&self) -> Result<Vec<u8>, String> {
        bincode::serde::encode_to_vec(self, bincode::config::standard()).map_err(|e| e.to_string())
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let read = bincode::serde::decode_from_slice(bytes, bincode::config::standard());
        let (state, used): (Self, usize) = read.map_err(|e| e.to_string())?;
        match state.version == VERSION && used == bytes.len() {
            true => Ok(state),
            false => Err(format!("version {}; expected {VERSION}", state.version)),
        }
    }
}
