// Stands in for LibTorch's header of this name until LibTorch is there. `.cargo/config.toml` puts this folder on the
// C++ include path behind LibTorch's own folders, so the compiler reads this file only when it finds no other.
#error "LibTorch is not set up in this checkout. Run: cargo xtask bootstrap"
