//! Numbers on their way between a GPU and this process, copied while the GPU computes.
//!
//! [`Landing`] brings results here: the copy of one batch goes on while the next is computed. [`Conveyor`] takes pieces of weights
//! there: while one is used, the next is read and copied. Memory on this side is pinned, since only from there a GPU copies by
//! itself. Both do the same on the CPU, with copies that are done at once. Not here: what the numbers are.
#![allow(unsafe_code, reason = "numbers of a tensor that nobody else holds, as a slice")]

use crate::shim::Copies;
use crate::{Stored, TorchError};
use tch::{Device, Kind, Tensor};

fn copies(device: Device) -> Result<Option<Copies>, TorchError> {
    match device {
        Device::Cuda(index) => Ok(Some(Copies::new(index)?)),
        _ => Ok(None),
    }
}

/// Room in this process for numbers that are copied with or from a device; pinned if that is a GPU.
fn room(numbers: usize, kind: Kind, device: Device) -> Result<Tensor, TorchError> {
    let flat = Tensor::f_empty([numbers as i64], (kind, Device::Cpu))?;
    Ok(if device == Device::Cpu { flat } else { flat.f_pin_memory(device)? })
}

/// Where results of a device arrive, as fp32.
pub struct Landing {
    // Goes first, and waits for a copy under way.
    copies: Option<Copies>,
    /// Never handed out, so that the slice of its numbers is the only way to them.
    flat: Tensor,
    held: usize,
}

impl Landing {
    /// Room for so many numbers from a device.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn new(numbers: usize, device: Device) -> Result<Self, TorchError> {
        Ok(Self { flat: room(numbers, Kind::Float, device)?, held: 0, copies: copies(device)? })
    }

    /// For how many numbers there is room.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.flat.numel()
    }

    /// Starts to bring a tensor's numbers, row by row, once they are computed; what was here is gone. Until [`Landing::finish`]
    /// the tensor must stay as it is.
    ///
    /// # Errors
    /// If there is no room for them, or LibTorch fails.
    pub fn start(&mut self, from: &Tensor) -> Result<(), TorchError> {
        let mut to = self.flat.f_narrow(0, 0, from.numel() as i64)?.f_view(from.size().as_slice())?;
        match &mut self.copies {
            Some(copies) => copies.start(&mut to, from)?,
            None => to.f_copy_(from)?,
        }
        self.held = from.numel();
        Ok(())
    }

    /// The numbers of the last tensor, as soon as they are here.
    ///
    /// # Errors
    /// If the device failed.
    pub fn finish(&mut self) -> Result<&[f32], TorchError> {
        if let Some(copies) = &mut self.copies {
            copies.finish()?;
        }
        // SAFETY: `flat` is fp32, on the CPU, without gaps, and holds at least `held` numbers (`narrow` would have refused). Nobody
        // else has a tensor over its memory, no copy is under way, and writing needs `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(self.flat.data_ptr().cast_const().cast(), self.held) })
    }
}

/// Takes pieces of a matrix to a device, one ahead of what is computed.
pub struct Conveyor {
    slots: [Slot; 2],
    nth: usize,
}

struct Slot {
    // Goes first, and waits for a copy under way.
    copies: Option<Copies>,
    here: Tensor,
    there: Tensor,
}

impl Conveyor {
    /// Room for two pieces of so many numbers of a kind.
    ///
    /// # Errors
    /// If LibTorch fails, for example for want of memory.
    pub fn new(numbers: usize, kind: Kind, device: Device) -> Result<Self, TorchError> {
        let slot = || {
            let there = Tensor::f_empty([numbers as i64], (kind, device))?;
            Ok::<_, TorchError>(Slot { here: room(numbers, kind, device)?, there, copies: copies(device)? })
        };
        Ok(Self { slots: [slot()?, slot()?], nth: 0 })
    }

    /// Calls `compute` with each piece on the device, in their order. While the device does what `compute` asks of it, the next
    /// piece is read and copied: so `compute` should not wait for the device, nor keep the piece.
    ///
    /// # Errors
    /// What reading a piece or `compute` says, or if a piece is larger than the room or of another kind.
    pub fn carry(
        &mut self,
        mut pieces: impl Iterator<Item = Result<Stored, TorchError>>,
        mut compute: impl FnMut(Tensor) -> Result<(), TorchError>,
    ) -> Result<(), TorchError> {
        let mut ready = pieces.next().map(|piece| self.send(&piece?)).transpose()?;
        while let Some((slot, piece)) = ready {
            // Before this piece is computed with: a copy waits for all that was asked for before it.
            ready = pieces.next().map(|next| self.send(&next?)).transpose()?;
            if let Some(copies) = &mut self.slots[slot].copies {
                copies.before_computing()?;
            }
            compute(piece)?;
        }
        Ok(())
    }

    /// Sends a piece on its way: its slot, and the tensor that it will be.
    fn send(&mut self, piece: &Stored) -> Result<(usize, Tensor), TorchError> {
        let nth = self.nth;
        self.nth = (nth + 1) % self.slots.len();
        let slot = &mut self.slots[nth];
        // What lay here must have left.
        if let Some(copies) = &mut slot.copies {
            copies.finish()?;
        }
        let size = piece.size();
        let part = |flat: &Tensor| flat.f_narrow(0, 0, size.iter().product())?.f_view(size.as_slice());
        let (mut here, mut there) = (part(&slot.here)?, part(&slot.there)?);
        piece.populate();
        here.f_copy_(&piece.to_tensor()?)?;
        piece.release();
        match &mut slot.copies {
            Some(copies) => copies.start(&mut there, &here)?,
            None => there.f_copy_(&here)?,
        }
        Ok((nth, there))
    }
}

impl std::fmt::Debug for Landing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Landing").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Conveyor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conveyor").field("numbers", &self.slots[0].here.numel()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Conveyor, Landing};
    use crate::{Stored, runtime};
    use tch::{Device, Kind, Tensor};

    #[allow(clippy::print_stderr, reason = "who runs tests is told what is skipped")]
    fn devices() -> Vec<Device> {
        let gpu = runtime::parse_device("cuda").ok();
        if gpu.is_none() {
            eprintln!("no GPU: copies beside computation are not tested");
        }
        [Device::Cpu].into_iter().chain(gpu).collect()
    }

    #[test]
    fn results_land_as_rows_of_fp32_and_the_room_is_used_again() {
        for device in devices() {
            let mut landing = Landing::new(12, device).unwrap();
            let all = Tensor::arange(24, (Kind::Double, device)).view([4, 6]);
            for (first, width) in [(0, 3), (2, 2)] {
                // With gaps, and doubles.
                landing.start(&all.narrow(1, first, width)).unwrap();
                let expected: Vec<f32> =
                    (0..4).flat_map(|r| (first..first + width).map(move |c| (6 * r + c) as f32)).collect();
                assert_eq!(landing.finish().unwrap(), expected);
            }
            assert!(landing.start(&all).is_err(), "24 numbers in the room of 12");
        }
    }

    #[test]
    fn pieces_arrive_in_order_also_when_computing_takes_long() {
        for device in devices() {
            let weights = Tensor::randn([70, 300], (Kind::Float, Device::Cpu));
            let stored = Stored::from(weights.shallow_clone());
            let x = Tensor::randn([300, 200], (Kind::Float, device));
            let mut conveyor = Conveyor::new(8 * 300, Kind::Float, device).unwrap();
            for _ in 0..2 {
                let (mut sums, mut first) = (Vec::new(), 0);
                let pieces = (0..70).step_by(8).map(|start| stored.narrow(0, start, 8.min(70 - start)));
                conveyor
                    .carry(pieces, |piece| {
                        // Asked for many times, so that a GPU is still busy with it when the next pieces come.
                        let mut sum = piece.f_matmul(&x)?;
                        for _ in 0..50 {
                            sum = piece.f_matmul(&x)?;
                        }
                        first += piece.size()[0];
                        sums.push(sum);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(first, 70);
                let expected = weights.to_device(device).matmul(&x);
                let error = (Tensor::cat(&sums, 0) - &expected).abs().max() / expected.abs().max();
                assert!(f64::try_from(error).unwrap() < 1e-5);
            }
            let large = std::iter::once(stored.narrow(0, 0, 9));
            assert!(conveyor.carry(large, |_| Ok(())).is_err(), "9 rows in the room of 8");
        }
    }
}
