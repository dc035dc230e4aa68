//! Content codings: which one a client takes, and packed bodies kept so that none is packed twice.
//!
//! A body is packed whole before the first byte goes out: a client that reads slowly then costs a buffer, not a thread.

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzEncoder;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::io::{self, Read};

/// Bodies smaller than this gain nothing.
pub(crate) const WORTH_PACKING: u64 = 1400;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
}

impl Coding {
    pub(crate) fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        })
    }

    /// The coding that a client likes best; of those that it likes equally, the first on offer. `None` for no coding,
    /// which is always possible: a client that refuses even that gets it all the same, rather than nothing.
    pub(crate) fn chosen(headers: &HeaderMap, offer: &[Self]) -> Option<Self> {
        let mut accepted = Vec::new();
        for value in headers.get_all(header::ACCEPT_ENCODING) {
            for item in value.to_str().unwrap_or_default().split(',') {
                let mut parts = item.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default().to_ascii_lowercase();
                let q = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
                let q: f32 = q.map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
                accepted.push((name, q));
            }
        }
        let q = |names: &[&str]| {
            let named = accepted.iter().find(|(name, _)| names.contains(&name.as_str()));
            named.or_else(|| accepted.iter().find(|(name, _)| name == "*")).map(|(_, q)| *q)
        };
        // Without a word about it, plain bytes are the last resort; named, they compete.
        let plain = accepted.iter().find(|(name, _)| name == "identity").map_or(0.0, |(_, q)| *q);
        let mut best = (None, plain);
        for &coding in offer {
            let liked = match coding {
                Self::Gzip => q(&["gzip", "x-gzip"]),
                Self::Brotli => q(&["br"]),
            };
            if let Some(liked) = liked.filter(|&liked| liked > best.1) {
                best = (Some(coding), liked);
            }
        }
        best.0
    }

    /// Packs all that a reader gives: fast rather than small, since the way is mostly a loopback.
    pub(crate) fn pack(self, from: impl Read) -> io::Result<Bytes> {
        let mut packed = Vec::new();
        match self {
            Self::Gzip => {
                GzEncoder::new(from, Compression::new(3)).read_to_end(&mut packed)?;
            }
            Self::Brotli => {
                brotli::CompressorReader::new(from, 1 << 16, 4, 22).read_to_end(&mut packed)?;
            }
        }
        packed.shrink_to_fit();
        Ok(packed.into())
    }
}

/// Packed bodies by the hash of what is packed. Bounded in bytes; what was used least goes first.
pub(crate) type PackedCache = Cache<(String, Coding), Bytes, Size>;

/// A body weighs its bytes.
#[derive(Clone)]
pub(crate) struct Size;

impl<K> Weighter<K, Bytes> for Size {
    fn weight(&self, _: &K, body: &Bytes) -> u64 {
        body.len() as u64 + 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_decides() {
        let offer = [Coding::Gzip, Coding::Brotli];
        for (accept, expected) in [
            ("", None),
            ("gzip", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("gzip, deflate, br, zstd", Some(Coding::Gzip)),
            ("gzip;q=0.5, br", Some(Coding::Brotli)),
            ("GZIP ; q=0.5 , BR;q=0.4", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("*", Some(Coding::Gzip)),
            ("*;q=0, br", Some(Coding::Brotli)),
            ("gzip;q=0, *", Some(Coding::Brotli)),
            ("gzip;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.1, gzip;q=0.5", Some(Coding::Gzip)),
            ("deflate, zstd", None),
            ("gzip;q=x", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(Coding::chosen(&headers, &offer), expected, "{accept}");
        }
        assert_eq!(Coding::chosen(&HeaderMap::new(), &offer), None);
    }

    #[test]
    fn what_is_packed_comes_back() {
        let body = "the same again and again, ".repeat(1000);
        let gzip = Coding::Gzip.pack(body.as_bytes()).unwrap();
        let mut found = String::new();
        flate2::read::GzDecoder::new(&*gzip).read_to_string(&mut found).unwrap();
        assert!(found == body && gzip.len() < 1000);
        let packed = Coding::Brotli.pack(body.as_bytes()).unwrap();
        let mut found = String::new();
        brotli::Decompressor::new(&*packed, 4096).read_to_string(&mut found).unwrap();
        assert!(found == body && packed.len() < 1000);
    }
}
