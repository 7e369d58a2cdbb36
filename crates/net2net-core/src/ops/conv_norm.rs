//! A convolution and the batch normalisation that reads it, where both are learnt, with what follows.
//!
//! Both are kept from reading far memory twice: each thread goes through its images in pieces that fit a core's own cache, as far
//! as filters are small enough to be arranged anew for each. Forward, the statistics are summed of a piece that was just written; backward, the gradient of the convolution's
//! outputs is made piece by piece, each of which the convolution's gradients read while it is there, and never as a whole.
//!
//! Where one such kernel alone reads what another one computes, normalising and rectifying is left to the reader, which
//! does it piece by piece too, forward and again backward: what is normalised is nowhere kept.

use std::ops::Range;

use net2net_kernels::batch_norm::{self, InputGradient, Moments, Sums};
use net2net_kernels::conv::{self, ConvShape, Finish, VolumeShape, volume};
use net2net_kernels::rows::{In, Out, Rows};
use net2net_kernels::{Context, Real};

use super::BatchNorm;
use super::batch_norm::{BatchStatistics, reads_output_again};
use crate::engine::{Backward, Gradient, Kernel, Needs, Tail};

/// How many numbers a piece has, of those that the convolution reads or writes, whichever are more.
const PIECE: usize = 32 * 1024;
/// How many it has at least for each weight, since filters are rearranged once a piece.
const PIECE_PER_WEIGHT: usize = 16;
/// How many images each thread has to have to go through them by itself; else all threads share each piece.
const IMAGES_PER_THREAD: usize = 4;

/// The kernel. Its inputs are the convolution's, the normalisation's parameters, the residual, if there is one, and
/// the coefficients of the input's normalisation, if that is left to this kernel. Its outputs are that of the last node that it
/// computes, and the convolution's; or, if normalising is left to the reader, the convolution's and the coefficients.
///
/// The gradient of coefficients is that of their scales and shifts, in their places; the means' follows from it.
pub(super) struct ConvNorm<T> {
    shape: VolumeShape,
    epsilon: f64,
    tail: Tail,
    /// What the maker of the input has left to be done: normalising, and rectifying if it says so.
    before: Option<Tail>,
    /// Where the normalisation's parameters begin among the inputs: behind the weight, or the bias.
    norm: usize,
    batch: BatchStatistics<T>,
}

impl<T: Real> ConvNorm<T> {
    pub(super) fn new(
        shape: VolumeShape,
        biased: bool,
        norm: &BatchNorm,
        tail: Tail,
        before: Option<Tail>,
    ) -> Self {
        let (channels, rows) = (shape.plane.out_c, shape.output_pixels());
        ConvNorm {
            shape,
            epsilon: norm.epsilon,
            tail,
            before,
            norm: 2 + usize::from(biased),
            batch: BatchStatistics::new(channels, rows, norm.momentum),
        }
    }

    /// The input slot of the coefficients.
    fn coefficients(&self) -> usize {
        self.norm + 4 + usize::from(self.tail.residual)
    }

    /// The output slot of the convolution's outputs.
    fn output(&self) -> usize {
        usize::from(!self.tail.deferred)
    }

    /// Has each thread work on a part of the images.
    fn by_images<D: Rows, R: Send>(
        &self,
        cx: &mut Context<T>,
        data: D,
        work: impl Fn(Range<usize>, D, &mut Context<T>) -> R + Sync,
    ) -> Vec<R> {
        cx.side_by_side(self.shape.plane.batch, IMAGES_PER_THREAD, data, work)
    }

    /// The images that `threads` threads go through together, in the pieces in which they do.
    fn pieces(&self, images: Range<usize>, threads: usize) -> impl Iterator<Item = Piece> + use<T> {
        let shape = self.shape;
        let weights = shape.plane.filter_len() * shape.kernel_d;
        let one = Piece::new(shape, 0..0, 0..1);
        let len = one.input.len().max(one.output.len()).max(1);
        let most = (PIECE * threads).max(PIECE_PER_WEIGHT * weights) / len;
        let count = images.len().div_ceil(most.max(1)).max(1);
        (0..count).map(move |piece| {
            let bound = |piece| images.start + piece * images.len() / count;
            Piece::new(shape, images.clone(), bound(piece)..bound(piece + 1))
        })
    }

    /// The sizes of an image that comes in, and of one that goes out.
    fn image_lens(&self) -> [usize; 2] {
        let one = Piece::new(self.shape, 0..0, 0..1);
        [one.input.len(), one.output.len()]
    }
}

/// Some of a thread's images.
struct Piece {
    shape: VolumeShape,
    /// Their places among the thread's.
    input: Range<usize>,
    output: Range<usize>,
    /// Their output pixels among those of the whole batch.
    pixels: Range<usize>,
    first: bool,
}

impl Piece {
    fn new(shape: VolumeShape, own: Range<usize>, images: Range<usize>) -> Self {
        let of = |batch| VolumeShape {
            plane: ConvShape {
                batch,
                ..shape.plane
            },
            ..shape
        };
        let one = of(1);
        let part = |len: usize| (images.start - own.start) * len..(images.end - own.start) * len;
        let pixels = one.output_pixels();
        Piece {
            shape: of(images.len()),
            input: part(one.plane.input_len() * one.in_d),
            output: part(one.plane.output_len() * one.out_d),
            pixels: images.start * pixels..images.end * pixels,
            first: images.start == own.start,
        }
    }
}

impl<T: Real> Kernel<T> for ConvNorm<T> {
    fn needs(&self) -> Needs {
        Needs {
            inputs: true,
            outputs: true,
        }
    }

    fn reads_again(&self, slot: usize) -> bool {
        slot < self.norm + 2 || slot == self.coefficients()
    }

    fn reads_output_again(&self, slot: usize) -> bool {
        slot == self.output() || (!self.tail.deferred && reads_output_again(self.tail))
    }

    fn forward(&mut self, cx: &mut Context<T>, inputs: &[&[T]], outputs: &mut [&mut [T]]) {
        let (conv, norm) = inputs.split_at(self.norm);
        let [first, second] = outputs else {
            return;
        };
        let (z, other) = match self.tail.deferred {
            true => (first, second),
            false => (second, first),
        };
        let before = self.before.map(|tail| (inputs[self.coefficients()], tail));
        let finish = Finish {
            shift: conv.get(2).copied(),
            ..Finish::default()
        };
        let channels = self.shape.plane.out_c;
        let lens = self.image_lens();
        let data = (In(conv[0], lens[0]), Out(z, lens[1]));
        let parts = self.by_images(cx, data, |images, (In(x, _), Out(z, _)), cx| {
            let mut moments = Moments::none(channels);
            let mut memory = cx.take_piece();
            for piece in self.pieces(images, cx.threads()) {
                let (x, z) = (&x[piece.input], &mut z[piece.output]);
                let len = before.map_or(0, |_| x.len());
                let x = normalized(cx, before, x, room(&mut memory, len));
                volume::forward(cx, &piece.shape, x, conv[1], finish, z, false);
                moments.add(cx, z);
            }
            cx.put_piece(memory);
            moments
        });
        let mut moments = Moments::none(channels);
        parts.iter().for_each(|part| moments.merge(part));
        let batch = &mut self.batch;
        moments.statistics(
            self.epsilon,
            [&mut batch.mean, &mut batch.inv_std, &mut batch.variance],
        );
        let coefficients = batch_norm::coefficients(&batch.mean, &batch.inv_std, norm[0], norm[1]);
        match self.tail.deferred {
            true => other.copy_from_slice(&coefficients),
            false => {
                let residual = norm.get(4).filter(|_| self.tail.residual).copied();
                let relu = self.tail.relu;
                batch_norm::apply(cx, z, &coefficients, residual, relu, other);
            }
        }
    }

    fn backward(&mut self, cx: &mut Context<T>, pass: &mut Backward<'_, T>) {
        let gradients = std::mem::take(&mut pass.input_gradients);
        let (conv, norm) = gradients.split_at_mut(self.norm);
        let [dscale, dshift, dmean, dvariance, rest @ ..] = norm else {
            return;
        };
        let (residual, before) = rest.split_at_mut(usize::from(self.tail.residual));
        // A computed value may stand for a running statistic; training does not read it.
        for gradient in [dmean, dvariance].into_iter().flatten() {
            if !gradient.accumulate {
                gradient.data.fill(T::zero());
            }
        }
        let output = self.output_gradient(cx, pass, residual.first_mut().and_then(Option::as_mut));
        let channels = self.shape.plane.out_c;
        let [mut scale, mut shift] = [(); 2].map(|()| vec![T::zero(); channels]);
        output.parameters([&mut scale, &mut shift], false);
        for (gradient, fresh) in [(dscale, &scale), (dshift, &shift)] {
            if let Some(gradient) = gradient {
                gradient.put(fresh);
            }
        }
        let sums = self.convolution(cx, pass, conv, &output);
        if let Some(Some(gradient)) = before.first_mut() {
            let c = self.shape.plane.in_c;
            let mut fresh = vec![T::zero(); 3 * c];
            let (scale, shift) = fresh[c..].split_at_mut(c);
            sums.write(shift, scale);
            gradient.put(&fresh);
        }
    }

    fn update(&mut self, slot: usize, running: &mut [T]) {
        match slot - self.norm {
            2 => self.batch.update_mean(running),
            _ => self.batch.update_variance(running),
        }
    }
}

impl<T: Real> ConvNorm<T> {
    /// The gradient of the convolution's outputs; writes that of the residual.
    fn output_gradient<'a>(
        &self,
        cx: &mut Context<T>,
        pass: &Backward<'a, T>,
        residual: Option<&'a mut Gradient<'_, T>>,
    ) -> InputGradient<'a, T> {
        let (rows, channels) = (self.shape.output_pixels(), self.shape.plane.out_c);
        let (z, dy) = (pass.outputs[self.output()], pass.output_gradients[0]);
        let [gamma, beta] = [0, 1].map(|slot| pass.inputs[self.norm + slot]);
        let BatchStatistics { mean, inv_std, .. } = &self.batch;
        let relu = self.tail.relu;
        if self.tail.deferred {
            let (scale, shift) = pass.output_gradients[1][channels..].split_at(channels);
            let sums = Sums::of(shift, scale);
            let coefficients = batch_norm::coefficients(mean, inv_std, gamma, beta);
            return InputGradient::of_sums(rows, z, dy, coefficients, inv_std, relu, &sums);
        }
        let residual = residual.map(|gradient| (&mut *gradient.data, gradient.accumulate));
        InputGradient::new(
            cx,
            rows,
            channels,
            z,
            pass.outputs[0],
            dy,
            [gamma, beta],
            mean,
            inv_std,
            relu,
            residual,
        )
    }

    /// The gradients of the convolution's inputs. Returns the sums that those of the input's normalisation need, if it
    /// is left to this kernel.
    fn convolution(
        &self,
        cx: &mut Context<T>,
        pass: &Backward<'_, T>,
        gradients: &mut [Option<Gradient<'_, T>>],
        output: &InputGradient<'_, T>,
    ) -> Sums {
        let x = pass.inputs[0];
        let plane = &self.shape.plane;
        let image = self.image_lens()[0];
        let (conv, bias) = gradients.split_at_mut(2);
        let [dx, dw] = conv else {
            return Sums::none(plane.in_c);
        };
        let wanted = Wanted {
            w: pass.inputs[1],
            before: self
                .before
                .map(|tail| (pass.inputs[self.coefficients()], tail)),
            output,
            dw: dw.is_some(),
            db: bias.iter().any(Option::is_some),
            add_dx: dx.as_ref().is_some_and(|dx| dx.accumulate),
        };
        let dx = dx.as_mut().map(|dx| Out(&mut *dx.data, image));
        let data = (In(x, image), dx);
        let parts = self.by_images(cx, data, |images, (In(x, _), dx), cx| {
            self.part(cx, &wanted, images, x, dx.map(|Out(dx, _)| dx))
        });
        if let Some(dw) = dw {
            cx.sum_pieces(parts.len(), dw.data, dw.accumulate);
        }
        let mut total = Sums::none(plane.in_c);
        let mut fresh = vec![T::zero(); plane.out_c];
        for (sums, db) in &parts {
            total.merge(sums);
            fresh.iter_mut().zip(db).for_each(|(sum, x)| *sum += *x);
        }
        if let Some(Some(db)) = bias.first_mut() {
            db.put(&fresh);
        }
        total
    }

    /// Those gradients for some images: `dx` is written, the weights' is left for `sum_pieces`, the others are returned.
    fn part(
        &self,
        cx: &mut Context<T>,
        wanted: &Wanted<'_, T>,
        images: Range<usize>,
        x: &[T],
        mut dx: Option<&mut [T]>,
    ) -> (Sums, Vec<T>) {
        let plane = &self.shape.plane;
        let mut sums = Sums::none(plane.in_c);
        let mut db = vec![T::zero(); plane.out_c];
        let mut memory = cx.take_piece();
        for piece in self.pieces(images, cx.threads()) {
            let bare = &x[piece.input.clone()];
            let (outputs, inputs) = (piece.output.len(), wanted.before.map_or(0, |_| bare.len()));
            // The gradient of the weights comes first, where `sum_pieces` finds it.
            let weights = wanted.w.len();
            let numbers = room(&mut memory, weights + outputs + inputs);
            let (dw, numbers) = numbers.split_at_mut(weights);
            let (dz, numbers) = numbers.split_at_mut(outputs);
            wanted.output.write(cx, piece.pixels.clone(), dz, false);
            if wanted.dw {
                let x = normalized(cx, wanted.before, bare, numbers);
                volume::backward_weight(cx, &piece.shape, x, dz, dw, !piece.first);
            }
            if wanted.db {
                let pixels = piece.pixels.len();
                conv::backward_bias(cx, pixels, plane.out_c, dz, &mut db, true);
            }
            if let Some(dx) = &mut dx {
                let dx = &mut dx[piece.input];
                volume::backward_data(cx, &piece.shape, dz, wanted.w, dx, wanted.add_dx);
                if let Some((coefficients, tail)) = wanted.before {
                    sums.add(cx, bare, dx, coefficients, tail.relu);
                }
            }
        }
        cx.put_piece(memory);
        (sums, db)
    }
}

/// What the gradients of a convolution's inputs are made of, and which are wanted.
struct Wanted<'a, T> {
    w: &'a [T],
    /// The coefficients by which its input is normalised first, if that is left to it.
    before: Option<(&'a [T], Tail)>,
    /// The gradient of its outputs.
    output: &'a InputGradient<'a, T>,
    dw: bool,
    db: bool,
    /// Whether the gradient of its input is added to what is there.
    add_dx: bool,
}

/// The first `len` numbers of memory that grows.
fn room<T: Real>(memory: &mut Vec<T>, len: usize) -> &mut [T] {
    memory.resize(len.max(memory.len()), T::zero());
    &mut memory[..len]
}

/// What a convolution reads: normalised first, if that is left to it.
fn normalized<'a, T: Real>(
    cx: &mut Context<T>,
    before: Option<(&[T], Tail)>,
    x: &'a [T],
    room: &'a mut [T],
) -> &'a [T] {
    match before {
        None => x,
        Some((coefficients, tail)) => {
            batch_norm::apply(cx, x, coefficients, None, tail.relu, room);
            room
        }
    }
}
