//! A corpus: text files, one document a line, as tokens that the model can read.
//!
//! Tokens lie in a temporary file without a name; memory holds where each document begins (eight bytes). A document longer than
//! the window is cut into several, each with the special token in front.

use crate::TrainError;
use crate::seeded::Fingerprint;
use circuit_index::TokenId;
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Documents in tokens.
#[derive(Debug)]
pub struct Corpus {
    /// All tokens, four bytes each, one document behind the other.
    tokens: Mutex<File>,
    /// Where each document begins, and where the last one ends, counted in tokens.
    starts: Vec<u64>,
    ignored: usize,
    fingerprint: u64,
}

impl Corpus {
    /// Reads text files. A document has at most `window` tokens; its first `ignored` positions are context only.
    ///
    /// # Errors
    /// If a file cannot be read or is no UTF-8, a token is not the model's, or nothing is left.
    pub fn read(
        files: &[PathBuf],
        tokenizer: &Tokenizer,
        model: &Model,
        window: usize,
        ignored: usize,
    ) -> Result<Self, TrainError> {
        let n_ctx = model.spec().n_ctx;
        if window <= ignored.max(1) || window > n_ctx {
            let reason =
                format!("{window} tokens; expected more than {} and at most {n_ctx}", ignored.max(1));
            return Err(TrainError::Setting { name: "window", reason });
        }
        let spooling = |e: std::io::Error| TrainError::Spool { reason: e.to_string() };
        let mut spool = BufWriter::new(tempfile::tempfile().map_err(spooling)?);
        let mut starts = vec![0];
        let mut sum = Fingerprint::default();
        for path in files {
            let bad = |reason: String| TrainError::Corpus { path: path.clone(), reason };
            let file = File::open(path).map_err(|e| bad(e.to_string()))?;
            for (nth, line) in BufReader::new(file).lines().enumerate() {
                let at = |e: &dyn std::fmt::Display| bad(format!("line {}: {e}", nth + 1));
                let line = line.map_err(|e| match e.kind() {
                    std::io::ErrorKind::InvalidData => at(&"not UTF-8 text"),
                    _ => at(&e),
                })?;
                if line.trim().is_empty() {
                    continue;
                }
                let tokens = tokenizer.encode_prompt(line.trim_end()).map_err(|e| at(&e))?.tokens;
                if let Some(token) = tokens.iter().find(|t| t.get() >= model.spec().d_vocab) {
                    let d_vocab = model.spec().d_vocab;
                    return Err(at(&format!("token {token}; expected one of the model's {d_vocab}")));
                }
                for piece in tokens[1..].chunks(window - 1) {
                    let document: Vec<_> = tokens[..1].iter().chain(piece).copied().collect();
                    if document.len() <= ignored {
                        continue;
                    }
                    for token in &document {
                        spool.write_all(&token.0.to_le_bytes()).map_err(spooling)?;
                        sum.add(token.0);
                    }
                    sum.add(u32::MAX);
                    starts.push(starts[starts.len() - 1] + document.len() as u64);
                }
            }
        }
        sum.add(ignored as u32);
        let tokens = spool.into_inner().map_err(|e| spooling(e.into_error()))?;
        match starts.len() {
            1 => Err(TrainError::EmptyCorpus { files: files.len(), ignored }),
            _ => Ok(Self { tokens: Mutex::new(tokens), starts, ignored, fingerprint: sum.finish() }),
        }
    }

    /// Number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is none: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A document, with its special token in front.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document(&self, nth: usize) -> Result<Vec<TokenId>, TrainError> {
        let mut bytes = vec![0; 4 * self.length(nth)];
        // A lock that a panic left behind guards nothing but the place in the file, which is set anew.
        let mut file = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(4 * self.starts[nth]))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|e| TrainError::Spool { reason: e.to_string() })?;
        Ok(bytes.as_chunks().0.iter().map(|four| TokenId(u32::from_le_bytes(*four))).collect())
    }

    /// Number of tokens of a document, the special one included.
    ///
    /// # Panics
    /// If there is no such document.
    #[must_use]
    pub fn length(&self, nth: usize) -> usize {
        (self.starts[nth + 1] - self.starts[nth]) as usize
    }

    /// How many leading positions of a document are context only.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// Number of tokens that are not ignored.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.starts[self.len()] as usize - self.len() * self.ignored
    }

    /// A number that changes with the corpus, to tell runs apart.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
