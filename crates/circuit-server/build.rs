//! Packs the built page (`web/dist`) into the crate, where it is there; without Node there is none, and a page stands in
//! that says how to build it. Decides nothing about how the page is served.

use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

/// Text packs well; pictures and fonts are packed already.
const PACKABLE: [&str; 8] = ["html", "js", "mjs", "css", "svg", "json", "map", "txt"];

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let web = here.join("../../web");
    let dist = web.join("dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/no-page.html");

    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        collect(&dist, &dist, &mut files);
        files.sort();
    } else {
        // A path that is not there would make every build run this again: the folder above tells of its coming, too.
        if web.is_dir() {
            println!("cargo::rerun-if-changed={}", web.display());
        }
        files.push(("index.html".to_owned(), here.join("src/no-page.html")));
    }

    let mut table = String::from("/// The page's files.\npub(crate) static PAGE: &[Asset] = &[\n");
    for (nth, (name, path)) in files.iter().enumerate() {
        let content = fs::read(path).expect("a file of the page can be read");
        let hash: String = Sha256::digest(&content)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let packable = path.extension().and_then(|e| e.to_str()).is_some_and(|e| PACKABLE.contains(&e));
        let packed = |ending: &str, bytes: Vec<u8>| {
            // Worth a header only where it saves something.
            if !packable || bytes.len() + 64 > content.len() {
                return "None".to_owned();
            }
            let path = out.join(format!("{nth}.{ending}"));
            fs::write(&path, bytes).expect("the build's folder can be written");
            format!("Some(include_bytes!({path:?}))")
        };
        let brotli = packed("br", brotli(&content));
        let gzip = packed("gz", gzip(&content));
        let path = fs::canonicalize(path).expect("a file of the page has a path");
        let kind = content_type(&path);
        let _ = writeln!(
            table,
            "    Asset {{ path: {name:?}, content_type: {kind:?}, hash: {hash:?}, plain: include_bytes!({path:?}), \
             brotli: {brotli}, gzip: {gzip} }},"
        );
    }
    table.push_str("];\n");
    fs::write(out.join("page.rs"), table).expect("the build's folder can be written");
}

/// All files below a folder, with their addresses.
fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).expect("a folder of the page can be read") {
        let path = entry.expect("a folder of the page can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(name) = path.strip_prefix(root) {
            let parts: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
            files.push((parts.join("/"), path));
        }
    }
}

fn content_type(path: &Path) -> String {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    if kind.type_() == mime_guess::mime::TEXT { format!("{kind}; charset=utf-8") } else { kind.to_string() }
}

fn brotli(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut reader = brotli::CompressorReader::new(content, 1 << 16, 11, 22);
    reader.read_to_end(&mut packed).expect("memory can be read and written");
    packed
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    to.write_all(content).and_then(|()| to.finish()).expect("memory can be read and written")
}
