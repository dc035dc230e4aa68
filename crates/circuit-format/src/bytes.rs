//! Numbers as little-endian bytes and back, in blocks: raw graphs are gigabytes, and a second copy is one too many.

use crate::error::Problem;
use std::io::{self, Read, Write};

/// Bytes converted at once.
const BLOCK: usize = 1 << 16;

/// Types of numbers in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
}

impl Dtype {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    pub(crate) fn is_integer(self) -> bool {
        matches!(self, Self::I64 | Self::I32)
    }
}

/// Writes single-precision numbers.
pub(crate) fn write_f32(out: &mut impl Write, values: &[f32]) -> io::Result<()> {
    let mut block = [0; BLOCK];
    for chunk in values.chunks(BLOCK / 4) {
        for (to, value) in block.chunks_exact_mut(4).zip(chunk) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        out.write_all(&block[..chunk.len() * 4])?;
    }
    Ok(())
}

/// Writes integers.
pub(crate) fn write_i64(out: &mut impl Write, values: impl Iterator<Item = i64>) -> io::Result<()> {
    for value in values {
        out.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

/// Writes zeros.
pub(crate) fn write_zeros(out: &mut impl Write, mut n_bytes: u64) -> io::Result<()> {
    let block = [0; BLOCK];
    while n_bytes > 0 {
        let now = usize::try_from(n_bytes).map_or(BLOCK, |n| n.min(BLOCK));
        out.write_all(&block[..now])?;
        n_bytes -= now as u64;
    }
    Ok(())
}

/// Reads `n` numbers of a floating type and appends them in single precision.
pub(crate) fn read_floats(from: &mut impl Read, dtype: Dtype, n: usize, to: &mut Vec<f32>) -> io::Result<()> {
    read_blocks(from, dtype, n, |block| match dtype {
        Dtype::F32 => to.extend(block.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        Dtype::Bf16 => to.extend(block.chunks_exact(2).map(|b| f32::from_le_bytes([0, 0, b[0], b[1]]))),
        Dtype::F16 => to.extend(block.chunks_exact(2).map(|b| half_to_f32(u16::from_le_bytes([b[0], b[1]])))),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "graphs are single precision; infinity is refused later"
        )]
        Dtype::F64 => to.extend(block.chunks_exact(8).map(|b| f64::from_le_bytes(eight(b)) as f32)),
        Dtype::I64 | Dtype::I32 => unreachable!("callers check the type"),
    })
}

/// Reads `n` integers and appends them.
pub(crate) fn read_integers(
    from: &mut impl Read,
    dtype: Dtype,
    n: usize,
    to: &mut Vec<i64>,
) -> io::Result<()> {
    read_blocks(from, dtype, n, |block| match dtype {
        Dtype::I64 => to.extend(block.chunks_exact(8).map(|b| i64::from_le_bytes(eight(b)))),
        Dtype::I32 => {
            to.extend(block.chunks_exact(4).map(|b| i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))));
        }
        _ => unreachable!("callers check the type"),
    })
}

/// Room for `n` values: a file may claim more than the machine has, and that must not end the process.
pub(crate) fn reserve<T>(what: &str, n: usize) -> Result<Vec<T>, Problem> {
    let mut values = Vec::new();
    match values.try_reserve_exact(n) {
        Ok(()) => Ok(values),
        Err(_) => Err(Problem::new(what, "what fits into memory", format_args!("{n} values"))),
    }
}

fn read_blocks(from: &mut impl Read, dtype: Dtype, n: usize, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = [0; BLOCK];
    let mut left = n;
    while left > 0 {
        let now = left.min(BLOCK / dtype.bytes());
        let bytes = &mut block[..now * dtype.bytes()];
        from.read_exact(bytes)?;
        take(bytes);
        left -= now;
    }
    Ok(())
}

fn eight(b: &[u8]) -> [u8; 8] {
    [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]
}

/// Exact: every half is a single.
fn half_to_f32(half: u16) -> f32 {
    let sign = if half & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (half >> 10 & 0x1f, f32::from(half & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(i32::from(exponent) - 25),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact() {
        for (half, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_95),
            (0x0001, 5.960_464_5e-8),
            (0x7bff, 65504.0),
            (0, 0.0),
        ] {
            assert_eq!(half_to_f32(half), value, "{half:#x}");
        }
        assert!(half_to_f32(0x7e00).is_nan() && half_to_f32(0xfc00) == f32::NEG_INFINITY);
    }

    #[test]
    fn numbers_come_back_across_blocks() {
        let values: Vec<f32> = (0..40_000u16).map(|i| f32::from(i) - 0.25).collect();
        let mut bytes = Vec::new();
        write_f32(&mut bytes, &values).unwrap();
        let mut read = Vec::new();
        read_floats(&mut &*bytes, Dtype::F32, values.len(), &mut read).unwrap();
        assert_eq!(read, values);
        assert!(read_floats(&mut &*bytes, Dtype::F64, values.len(), &mut read).is_err());
    }
}
