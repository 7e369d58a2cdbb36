//! Slices that split at a row: how a kernel's arguments are dealt out to threads.

/// Something made of rows that can be cut in two between them.
pub trait Rows: Send + Sized {
    /// The first `rows` rows, and the others.
    fn split_rows(self, rows: usize) -> (Self, Self);
}

/// Rows to read: the elements, and how many there are to a row.
#[derive(Clone, Copy)]
pub struct In<'a, T>(pub &'a [T], pub usize);

/// Rows to write: the elements, and how many there are to a row.
pub struct Out<'a, T>(pub &'a mut [T], pub usize);

impl<T: Sync> Rows for In<'_, T> {
    fn split_rows(self, rows: usize) -> (Self, Self) {
        let (head, tail) = self.0.split_at(rows * self.1);
        (In(head, self.1), In(tail, self.1))
    }
}

impl<T: Send> Rows for Out<'_, T> {
    fn split_rows(self, rows: usize) -> (Self, Self) {
        let (head, tail) = self.0.split_at_mut(rows * self.1);
        (Out(head, self.1), Out(tail, self.1))
    }
}

impl Rows for () {
    fn split_rows(self, _rows: usize) -> (Self, Self) {
        ((), ())
    }
}

impl<R: Rows> Rows for Option<R> {
    fn split_rows(self, rows: usize) -> (Self, Self) {
        match self.map(|r| r.split_rows(rows)) {
            Some((head, tail)) => (Some(head), Some(tail)),
            None => (None, None),
        }
    }
}

macro_rules! impl_rows_for_tuple {
    ($($name:ident)+) => {
        impl<$($name: Rows),+> Rows for ($($name,)+) {
            #[allow(non_snake_case)]
            fn split_rows(self, rows: usize) -> (Self, Self) {
                let ($($name,)+) = self;
                $(let $name = $name.split_rows(rows);)+
                (($($name.0,)+), ($($name.1,)+))
            }
        }
    };
}

impl_rows_for_tuple!(A B);
impl_rows_for_tuple!(A B C);
impl_rows_for_tuple!(A B C D);
