//! Packed matrices: numbers of four bits, unpacked when they are used and not before.
//!
//! MXFP4 (OCP Microscaling Formats, 2023): blocks of 32 numbers in a row share a scale. A number is E2M1 (sign, two bits of
//! exponent, one of mantissa), two to a byte, the first in the low half; a scale is a power of two, stored as exponent + 127.

use tch::{Device, Kind, Tensor};

/// Numbers that share a scale.
pub(crate) const BLOCK: i64 = 32;

/// A matrix `[out, in]`: as it is, or packed.
#[derive(Debug)]
pub enum Matrix {
    /// Numbers.
    Plain(Tensor),
    /// Numbers of four bits.
    Mxfp4(Mxfp4),
}

/// A matrix `[out, in]` in MXFP4.
#[derive(Debug)]
pub struct Mxfp4 {
    /// `[out, in / 32, 16]`, bytes.
    pub blocks: Tensor,
    /// `[out, in / 32]`, bytes.
    pub scales: Tensor,
}

impl Matrix {
    /// On a device; plain numbers also in a type. Packed ones get theirs when they are unpacked.
    pub(crate) fn to(&self, kind: Kind, device: Device) -> Result<Self, tch::TchError> {
        Ok(match self {
            Self::Plain(tensor) => Self::Plain(tensor.f_to_device(device)?.f_to_kind(kind)?),
            Self::Mxfp4(Mxfp4 { blocks, scales }) => Self::Mxfp4(Mxfp4 {
                blocks: blocks.f_to_device(device)?,
                scales: scales.f_to_device(device)?,
            }),
        })
    }

    /// The numbers, `[out, in]`.
    pub(crate) fn unpack(&self, kind: Kind) -> Tensor {
        match self {
            Self::Plain(tensor) => tensor.to_kind(kind),
            Self::Mxfp4(packed) => packed.unpack(kind),
        }
    }

    /// Whether all numbers are finite. Packed ones are unless their scale is none.
    pub(crate) fn is_finite(&self) -> bool {
        let finite = match self {
            Self::Plain(tensor) => tensor.isfinite().all(),
            Self::Mxfp4(packed) => packed.scales.not_equal(255).all(),
        };
        bool::try_from(finite).unwrap_or(false)
    }
}

impl Mxfp4 {
    /// The numbers, `[out, in]`. Computed in fp32, which holds each of them exactly.
    pub fn unpack(&self, kind: Kind) -> Tensor {
        let device = self.blocks.device();
        let look_up = |table: Tensor, bytes: &Tensor| {
            table.to_device(device).index_select(0, &bytes.flatten(0, -1).to_kind(Kind::Int))
        };
        let &[out, n_blocks, _] = self.blocks.size().as_slice() else {
            unreachable!("blocks are [out, in / 32, 16]")
        };
        let pairs = look_up(pairs(), &self.blocks).view([out, n_blocks, BLOCK]);
        let scales = look_up(scales(), &self.scales).view([out, n_blocks, 1]);
        (pairs * scales).view([out, n_blocks * BLOCK]).to_kind(kind)
    }
}

/// The two numbers of each byte, `[256, 2]`.
fn pairs() -> Tensor {
    const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let number = |bits: u8| {
        let magnitude = MAGNITUDES[usize::from(bits & 7)];
        if bits & 8 == 0 { magnitude } else { -magnitude }
    };
    let numbers: Vec<f32> = (0..=255).flat_map(|byte: u8| [number(byte & 15), number(byte >> 4)]).collect();
    Tensor::from_slice(&numbers).view([256, 2])
}

/// The scale of each byte, `[256]`; the last is none.
fn scales() -> Tensor {
    let mut scales: Vec<f32> = (0..=254).map(|exponent| 2f32.powi(exponent - 127)).collect();
    scales.push(f32::NAN);
    Tensor::from_slice(&scales)
}
