//! The page: built into the program, or from a folder while it is developed.
//!
//! The build script packs `web/dist` where it is there; else one page stands in that says how to build the real one. Any
//! address that is nobody else's gives the page itself, which finds its way by the address. No routes of data here.

use crate::encoding::Coding;
use crate::error::ApiError;
use crate::etag::{Stamp, not_modified};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use circuit_format::file_inside;
use percent_encoding::percent_decode_str;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the page comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// The program itself.
    Embedded,
    /// A folder with `index.html`, read anew for each request.
    Folder(PathBuf),
}

/// One file of the page, packed when the program was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asset {
    /// Its address without the slash in front.
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    /// The hash of its content, without quotes.
    pub(crate) hash: &'static str,
    pub(crate) plain: &'static [u8],
    pub(crate) brotli: Option<&'static [u8]>,
    pub(crate) gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/page.rs"));

const INDEX: &str = "index.html";

/// Files below have names that change with their content.
const HASHED: &str = "assets/";

/// First parts of addresses that are never the page.
const RESERVED: [&str; 5] = ["api", "data", "graph_data", "features", "save_graph"];

impl Frontend {
    /// The answer to a GET or HEAD of a path that no route knows. Blocks where the page is a folder.
    pub(crate) fn answer(&self, path: &str, headers: &HeaderMap) -> Response {
        let path = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy().into_owned();
        let first = path.split('/').next().unwrap_or_default();
        if RESERVED.contains(&first) {
            return ApiError::not_found("there is nothing at this address").into_response();
        }
        let found = match self {
            Self::Embedded => embedded(PAGE, &path, headers),
            Self::Folder(folder) => from_folder(folder, &path, headers),
        };
        found.unwrap_or_else(|| ApiError::not_found("the page has no such part").into_response())
    }
}

fn embedded(page: &[Asset], path: &str, headers: &HeaderMap) -> Option<Response> {
    let named = page.iter().find(|asset| asset.path == path);
    // An old page asks for parts of its own time: another page in their place would only confuse it.
    let asset =
        named.or_else(|| page.iter().find(|asset| asset.path == INDEX && !path.starts_with(HASHED)))?;
    let offer = [(Coding::Brotli, asset.brotli), (Coding::Gzip, asset.gzip)];
    let codings: Vec<_> =
        offer.iter().filter(|(_, body)| body.is_some()).map(|(coding, _)| *coding).collect();
    let coding = Coding::chosen(headers, &codings);
    let body =
        offer.iter().find(|(c, _)| Some(*c) == coding).and_then(|(_, body)| *body).unwrap_or(asset.plain);
    let etag = match coding {
        None => format!("\"{}\"", asset.hash),
        Some(coding) => format!("\"{}-{}\"", asset.hash, coding.name().to_str().unwrap_or_default()),
    };
    let mut response = if not_modified(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(Bytes::from_static(body)));
        let to = response.headers_mut();
        to.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
        if let Some(coding) = coding {
            to.insert(header::CONTENT_ENCODING, coding.name());
        }
        response
    };
    let caching =
        if asset.path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let to = response.headers_mut();
    to.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    to.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    to.extend(HeaderValue::from_str(&etag).ok().map(|etag| (header::ETAG, etag)));
    Some(response)
}

fn from_folder(folder: &Path, path: &str, headers: &HeaderMap) -> Option<Response> {
    let find = |name: &str| file_inside(folder, Path::new(name)).ok().flatten();
    let named = if path.is_empty() { None } else { find(path) };
    let file = named.or_else(|| find(INDEX).filter(|_| !path.starts_with(HASHED)))?;
    let etag = Stamp::of(&fs::metadata(&file).ok()?).etag();
    let mut response = if not_modified(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(fs::read(&file).ok()?));
        let kind = mime_guess::from_path(&file).first_or_octet_stream();
        // All that we write is UTF-8.
        let kind = if kind.type_() == mime_guess::mime::TEXT {
            format!("{kind}; charset=utf-8")
        } else {
            kind.to_string()
        };
        response
            .headers_mut()
            .extend(HeaderValue::from_str(&kind).ok().map(|kind| (header::CONTENT_TYPE, kind)));
        response
    };
    let to = response.headers_mut();
    to.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    to.extend(HeaderValue::from_str(&etag).ok().map(|etag| (header::ETAG, etag)));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const TOY: &[Asset] = &[
        Asset {
            path: "index.html",
            content_type: "text/html; charset=utf-8",
            hash: "i",
            plain: b"page",
            brotli: None,
            gzip: None,
        },
        Asset {
            path: "assets/a-1.js",
            content_type: "text/javascript; charset=utf-8",
            hash: "a",
            plain: b"plain",
            brotli: Some(b"br"),
            gzip: Some(b"gz"),
        },
    ];

    fn get(path: &str, headers: &[(&'static str, &'static str)]) -> Option<Response> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        embedded(TOY, path, &map)
    }

    fn header_of(response: &Response, name: header::HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    async fn body(response: Response) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[tokio::test]
    async fn embedded_files_come_as_the_client_takes_them() {
        for (accept, expected, coding) in
            [("gzip, br", "br", "br"), ("gzip", "gz", "gzip"), ("zstd", "plain", "")]
        {
            let response = get("assets/a-1.js", &[("accept-encoding", accept)]).unwrap();
            assert_eq!(header_of(&response, header::CONTENT_ENCODING), coding);
            assert!(header_of(&response, header::CACHE_CONTROL).contains("immutable"));
            assert_eq!(header_of(&response, header::VARY), "accept-encoding");
            assert_eq!(body(response).await, expected.as_bytes());
        }
        let response =
            get("assets/a-1.js", &[("accept-encoding", "br"), ("if-none-match", "\"a-br\"")]).unwrap();
        assert_eq!(response.status(), 304);
        let response =
            get("assets/a-1.js", &[("accept-encoding", "br"), ("if-none-match", "\"a\"")]).unwrap();
        assert_eq!(response.status(), 200);
    }

    #[tokio::test]
    async fn unknown_addresses_are_the_page_but_not_unknown_parts_of_it() {
        for path in ["", "index.html", "some/where", "graph"] {
            let response = get(path, &[("accept-encoding", "br")]).unwrap();
            assert_eq!(header_of(&response, header::CACHE_CONTROL), "no-cache");
            assert_eq!(header_of(&response, header::CONTENT_ENCODING), "");
            assert_eq!(body(response).await, b"page");
        }
        assert!(get("assets/a-2.js", &[]).is_none());
    }
}
