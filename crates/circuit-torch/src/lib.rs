//! LibTorch: loading it, devices, dtypes, mapped tensor files.
