//! Proof instead of guesses: a small program is compiled against LibTorch's header, linked, and run. So a compiler
//! without C++17 or without its library, a missing neighbour of LibTorch, or too old a system are found here, and not in
//! the middle of a long build.

use super::find::Torch;
use super::needs::compiler;
use super::remove_folder;
use super::state::Set;
use crate::shell;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Prints the version of the LibTorch that is loaded; with an argument, loads that library as well.
const PROGRAM: &str = r#"
#include <torch/headeronly/version.h>
#include <cstdint>
#include <cstdio>
#include <dlfcn.h>
#include <optional>
#include <string>
extern "C" uint64_t aoti_torch_abi_version();
int main(int argc, char **argv) {
    std::optional<std::string> library;
    if (argc > 1) library = argv[1];
    if (library && !dlopen(library->c_str(), RTLD_LAZY | RTLD_GLOBAL)) {
        std::fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    uint64_t v = aoti_torch_abi_version();
    std::printf("%d.%d.%d\n", int(v >> 56), int(v >> 48 & 255), int(v >> 40 & 255));
}
"#;

/// Compiles, links and loads; the version that the loaded library says to have.
pub(super) fn load(tmp: &Path, torch: &Torch, set: Set) -> Result<String> {
    fs::create_dir_all(tmp).with_context(|| format!("cannot make {}", tmp.display()))?;
    let result = compile(tmp, torch).and_then(|()| start(tmp, torch, set));
    remove_folder(tmp)?;
    result
}

fn compile(tmp: &Path, torch: &Torch) -> Result<()> {
    let source = tmp.join("probe.cpp");
    fs::write(&source, PROGRAM).with_context(|| format!("cannot write {}", source.display()))?;
    let lib = torch.root.join("lib");
    let mut command = Command::new(compiler());
    command.args(["-std=c++17", "-isystem"]).arg(torch.root.join("include")).arg(source);
    command.arg("-o").arg(tmp.join("probe")).arg("-L").arg(&lib).args(["-ltorch_cpu", "-lc10", "-ldl"]);
    // LibTorch's own neighbours are found when the program starts; the linker need not find them now.
    command.arg("-Wl,--allow-shlib-undefined").arg("-Xlinker").arg("-rpath").arg("-Xlinker").arg(lib);
    shell::output(&mut command).map(drop).context("the C++ compiler cannot build against LibTorch")
}

fn start(tmp: &Path, torch: &Torch, set: Set) -> Result<String> {
    let mut command = Command::new(tmp.join("probe"));
    // What a library path of this shell may bring must not hide what is missing.
    command.env_remove("LD_LIBRARY_PATH");
    if set == Set::Cuda {
        ensure!(torch.has_cuda, "it has no CUDA half");
        command.arg("libtorch_cuda.so");
    }
    shell::output(&mut command).map(|version| version.trim().to_owned()).or_else(|error| {
        let missing = missing(torch, set);
        if missing.is_empty() {
            return Err(error).context("LibTorch does not load");
        }
        bail!("LibTorch does not load, because libraries are missing: {}", missing.join(", "))
    })
}

/// The libraries that the loader does not find, all of them (a failed start names only the first).
fn missing(torch: &Torch, set: Set) -> Vec<String> {
    let names =
        if set == Set::Cuda { &["libtorch_cpu.so", "libtorch_cuda.so"][..] } else { &["libtorch_cpu.so"] };
    let mut ldd = Command::new("ldd");
    ldd.args(names.iter().map(|name| torch.root.join("lib").join(name))).env_remove("LD_LIBRARY_PATH");
    not_found(&shell::output(&mut ldd).unwrap_or_default())
}

/// The names in lines such as `libcupti.so.13 => not found`.
fn not_found(ldd: &str) -> Vec<String> {
    let mut names: Vec<_> =
        ldd.lines().filter_map(|line| line.trim().strip_suffix(" => not found")).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::not_found;

    #[test]
    fn missing_libraries_are_listed_once() {
        let text = "/x/libtorch_cpu.so:\n\tlibcupti.so.13 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n\
                    /x/libtorch_cuda.so:\n\tlibcudnn.so.9 => not found\n\tlibcupti.so.13 => not found\n";
        assert_eq!(not_found(text), ["libcudnn.so.9", "libcupti.so.13"]);
    }
}
