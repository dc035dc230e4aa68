//! Finds LibTorch's library folder and passes it on, so that programs find the libraries without LD_LIBRARY_PATH.
//!
//! Link arguments are not transitive in cargo: each package with a binary, test or bench repeats them in a build script
//! of three lines, which reads `DEP_CIRCUIT_TORCH_LINK_ARG` (cargo sets it for direct dependents, because this package
//! has `links`). The path is that of the real files, not of `.libtorch/view`: LibTorch finds its own neighbours
//! through `$ORIGIN`, which must resolve to where they lie.

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let root = PathBuf::from(env::var_os("LIBTORCH").expect("LIBTORCH is set in .cargo/config.toml"));
    // Bootstrap rewrites this file when the view changes its target, which file times alone would not show.
    println!("cargo::rerun-if-changed={}", root.join("target").display());
    match link_arg(&root) {
        Ok(arg) => {
            println!("cargo::metadata=link_arg={arg}");
            println!("cargo::rustc-link-arg={arg}");
        }
        Err(message) => return println!("cargo::error={message}"),
    }
    compile_shim(&root);
}

/// Compiles cxx/shim.cpp as torch-sys compiles its own part: C++17, the C++11 ABI.
fn compile_shim(root: &Path) {
    println!("cargo::rerun-if-changed=cxx/shim.cpp");
    let mut build = cc::Build::new();
    // LibTorch's headers warn; as a system folder they keep quiet, and warnings about the shim itself stay.
    build.cpp(true).std("c++17").define("_GLIBCXX_USE_CXX11_ABI", "1").file("cxx/shim.cpp");
    build.flag("-isystem").flag(root.join("include")).opt_level(1);
    build.compile("circuit_torch_shim");
}

/// The linker argument. It asks for DT_RUNPATH (not DT_RPATH), which LD_LIBRARY_PATH overrides: so the same program uses
/// a full torch with CUDA where one is on the library path.
fn link_arg(root: &Path) -> Result<String, String> {
    let library = root.join("lib/libtorch_cpu.so");
    let library = library
        .canonicalize()
        .map_err(|e| format!("no LibTorch at {} ({e}). Run: cargo xtask bootstrap", library.display()))?;
    let folder = library.parent().expect("a file has a folder").display().to_string();
    if folder.contains(',') {
        return Err(format!("the linker cannot take a library folder with a comma in its name: {folder}"));
    }
    Ok(format!("-Wl,--enable-new-dtags,-rpath,{folder}"))
}
