//! Each instruction set's own operations.

use super::math::{exp, sigmoid};
use super::transpose::{Rows, transpose};
use super::{Isa, Kernel, Lanes};

/// A function of one register, over a slice.
struct Map<'a, F>(&'a mut [f32], F);

/// A function that has a version for every register.
trait Function {
    fn apply<V: Lanes>(&self, x: V) -> V;
}

struct Exp;
impl Function for Exp {
    #[inline(always)]
    fn apply<V: Lanes>(&self, x: V) -> V {
        exp(x)
    }
}

struct Sigmoid;
impl Function for Sigmoid {
    #[inline(always)]
    fn apply<V: Lanes>(&self, x: V) -> V {
        sigmoid(x)
    }
}

impl<F: Function> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        for part in self.0.chunks_mut(V::N) {
            // SAFETY: `part` holds as many floats as are read and written.
            unsafe {
                let y = self.1.apply(V::load_first(part.as_ptr(), part.len()));
                y.store_first(part.as_mut_ptr(), part.len());
            }
        }
    }
}

#[test]
fn exp_is_right_to_two_units_of_the_last_place() {
    let x: Vec<f32> = (-86_990..=87_990).map(|x| x as f32 * 1e-3).collect();
    for isa in Isa::available() {
        let mut y = x.clone();
        isa.run(Map(&mut y, Exp));
        for (x, y) in x.iter().zip(y) {
            let exact = f64::from(*x).exp();
            let error = (f64::from(y) / exact - 1.0).abs() / f64::from(f32::EPSILON);
            assert!(
                error < 2.0,
                "{isa:?}: e^{x} = {y}, expected {exact}: {error} units"
            );
        }
    }
}

#[test]
fn exp_and_sigmoid_keep_their_limits() {
    for isa in Isa::available() {
        let mut y = [-1e30, f32::NEG_INFINITY, 1e30, f32::INFINITY, f32::NAN, 0.0];
        isa.run(Map(&mut y, Exp));
        assert!(
            y[0] < 2e-38 && y[1] < 2e-38 && y[2] > 1e38 && y[3] > 1e38,
            "{isa:?}: {y:?}"
        );
        assert!(y[4].is_nan() && y[5] == 1.0, "{isa:?}: {y:?}");
        let mut y = [-1e30, 1e30, f32::NAN, 0.0];
        isa.run(Map(&mut y, Sigmoid));
        assert!(
            y[0] < 1e-37 && y[1] == 1.0 && y[2].is_nan() && y[3] == 0.5,
            "{isa:?}: {y:?}"
        );
    }
}

/// The transpose of `rows` by `columns` values.
struct Transpose<'a>(&'a [f32], [usize; 2], &'a mut [f32]);

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Self(from, [rows, columns], to) = self;
        assert!(from.len() == rows * columns && to.len() == from.len());
        let source = Rows {
            start: from.as_ptr(),
            pitch: columns,
        };
        // SAFETY: both slices hold the whole matrix.
        unsafe {
            transpose::<V>(
                source,
                [rows, columns],
                Rows {
                    start: to.as_mut_ptr(),
                    pitch: rows,
                },
            )
        }
    }
}

#[test]
fn transposes_whole_blocks_and_edges() {
    for isa in Isa::available() {
        for size @ [rows, columns] in [[16, 16], [8, 24], [1, 40], [37, 21], [33, 16], [5, 3]] {
            let from: Vec<f32> = (0..rows * columns).map(|x| x as f32).collect();
            let mut to = vec![-1.0; from.len()];
            isa.run(Transpose(&from, size, &mut to));
            for (at, &value) in to.iter().enumerate() {
                assert_eq!(
                    value,
                    from[at % rows * columns + at / rows],
                    "{isa:?} {size:?} {at}"
                );
            }
        }
    }
}

#[test]
fn the_portable_path_is_always_there() {
    assert_eq!(Isa::available()[0], Isa::Portable);
    assert_eq!(Isa::available().last(), Some(&Isa::best()));
}
