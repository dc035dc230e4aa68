//! A corpus: text files, one document a line, as tokens that the model can read.
//!
//! Tokens are held in memory (four bytes each); activations never are, beyond a chunk. A document longer than the window is cut
//! into several, each with the special token in front.

use crate::TrainError;
use crate::seeded::Fingerprint;
use circuit_index::TokenId;
use circuit_model::Model;
use circuit_model::tokenizer::Tokenizer;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// Documents in tokens.
#[derive(Debug)]
pub struct Corpus {
    documents: Vec<Vec<TokenId>>,
    ignored: usize,
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
        let mut documents = Vec::new();
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
                    documents.extend((document.len() > ignored).then_some(document));
                }
            }
        }
        match documents.is_empty() {
            true => Err(TrainError::EmptyCorpus { files: files.len(), ignored }),
            false => Ok(Self { documents, ignored }),
        }
    }

    /// The documents, each with its special token in front.
    #[must_use]
    pub fn documents(&self) -> &[Vec<TokenId>] {
        &self.documents
    }

    /// How many leading positions of a document are context only.
    #[must_use]
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// Number of tokens that are not ignored.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.documents.iter().map(|d| d.len() - self.ignored).sum()
    }

    /// A number that changes with the corpus, to tell runs apart.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut sum = Fingerprint::default();
        for document in &self.documents {
            for token in document {
                sum.add(token.0);
            }
            sum.add(u32::MAX);
        }
        sum.add(self.ignored as u32);
        sum.finish()
    }
}
