//! A corpus: text files, one document a line, as tokens that the model can read.
//!
//! Tokens lie in a temporary file without a name; memory holds where each document begins (eight bytes). A document longer than
//! the window is cut into several, each with the same token in front.

use crate::TrainError;
use crate::seeded::Fingerprint;
use circuit_index::{Notice, TokenId};
use circuit_model::Model;
use circuit_model::text::{Lines, TextError};
use circuit_model::tokenizer::Tokenizer;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
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
    notices: Vec<Notice>,
}

impl Corpus {
    /// Reads text files. A document has at most `window` tokens; its first `ignored` positions are context only. The
    /// tokenizer says what is put in front of each document.
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
        let spool = BufWriter::new(tempfile::tempfile().map_err(spooling)?);
        let mut reading = Reading {
            tokenizer,
            d_vocab: model.spec().d_vocab,
            window,
            ignored,
            spool,
            starts: vec![0],
            sum: Fingerprint::default(),
        };
        let mut notices = Vec::new();
        for path in files {
            reading.file(path, &mut notices)?;
        }
        let Reading { spool, starts, mut sum, .. } = reading;
        sum.add(ignored as u32);
        let tokens = spool.into_inner().map_err(|e| spooling(e.into_error()))?;
        match starts.len() {
            1 => Err(TrainError::EmptyCorpus { files: files.len(), ignored }),
            _ => Ok(Self { tokens: Mutex::new(tokens), starts, ignored, fingerprint: sum.finish(), notices }),
        }
    }

    /// What was noticed in the files: characters that are probably not meant, documents that begin in an unusual way.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
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

    /// The tokens of a document, with what was put in front.
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

    /// Number of tokens of a document, with what was put in front.
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

/// The state of [`Corpus::read`].
struct Reading<'a> {
    tokenizer: &'a Tokenizer,
    d_vocab: usize,
    window: usize,
    ignored: usize,
    spool: BufWriter<File>,
    starts: Vec<u64>,
    sum: Fingerprint,
}

impl Reading<'_> {
    /// Takes in the documents of a file, one a line.
    fn file(&mut self, path: &Path, notices: &mut Vec<Notice>) -> Result<(), TrainError> {
        let opened = File::open(path);
        let opened = opened.map_err(|source| TextError::Read { path: path.into(), source })?;
        let mut lines = Lines::new(path, BufReader::new(opened));
        while lines.advance()? {
            let text = lines.line().trim_end();
            if text.trim_start().is_empty() {
                continue;
            }
            let at = |reason: String| TrainError::Corpus {
                path: path.into(),
                reason: format!("line {}: {reason}", lines.number()),
            };
            let prompt = self.tokenizer.encode_prompt(text).map_err(|e| at(e.to_string()))?;
            if let Some(token) = prompt.tokens.iter().find(|token| token.get() >= self.d_vocab) {
                let d_vocab = self.d_vocab;
                return Err(at(format!("token {token}; expected one of the model's {d_vocab}")));
            }
            // One document stands for all: what is unusual about the first is mostly so for the others.
            if notices.is_empty() {
                let place = format!("{}: line {}", path.display(), lines.number());
                notices.extend(
                    prompt
                        .notices
                        .into_iter()
                        .map(|notice| Notice { message: format!("{place}: {}", notice.message), ..notice }),
                );
            }
            self.document(&prompt.tokens)?;
        }
        notices.extend(lines.notices());
        Ok(())
    }

    /// Writes a document, cut into pieces of the window's length. What stands in front stands in front of each.
    fn document(&mut self, tokens: &[TokenId]) -> Result<(), TrainError> {
        let spooling = |e: std::io::Error| TrainError::Spool { reason: e.to_string() };
        let lead = tokens.iter().take(1).filter(|&&first| self.tokenizer.may_lead(first)).count();
        let (lead, rest) = tokens.split_at(lead);
        for piece in rest.chunks(self.window - lead.len()) {
            let length = lead.len() + piece.len();
            if length <= self.ignored {
                continue;
            }
            for token in lead.iter().chain(piece) {
                self.spool.write_all(&token.0.to_le_bytes()).map_err(spooling)?;
                self.sum.add(token.0);
            }
            self.sum.add(u32::MAX);
            self.starts.push(self.starts[self.starts.len() - 1] + length as u64);
        }
        Ok(())
    }
}
