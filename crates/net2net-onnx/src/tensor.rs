//! Tensors of the file format: element types, checked sizes, numbers in and out.

use half::{bf16, f16};
use net2net_core::graph::MAX_ELEMENTS;
use prost::bytes::Bytes;

use crate::document::{External, UNMADE};
use crate::error::OnnxError;
use crate::proto::{StringStringEntryProto, TensorProto};

/// Element types of `TensorProto.DataType` that are read as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit float.
    F16,
    /// The upper half of a 32-bit float.
    Bf16,
    /// Unsigned, 8 bits.
    U8,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// A truth value in a byte.
    Bool,
}

impl Dtype {
    /// The type of an element type's number, if it is read as numbers.
    pub fn from_id(id: i32) -> Option<Dtype> {
        Some(match id {
            1 => Dtype::F32,
            2 => Dtype::U8,
            3 => Dtype::I8,
            4 => Dtype::U16,
            5 => Dtype::I16,
            6 => Dtype::I32,
            7 => Dtype::I64,
            9 => Dtype::Bool,
            10 => Dtype::F16,
            11 => Dtype::F64,
            12 => Dtype::U32,
            13 => Dtype::U64,
            16 => Dtype::Bf16,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::U8 | Dtype::I8 | Dtype::Bool => 1,
            Dtype::F16 | Dtype::Bf16 | Dtype::U16 | Dtype::I16 => 2,
            Dtype::F32 | Dtype::I32 | Dtype::U32 => 4,
            Dtype::F64 | Dtype::I64 | Dtype::U64 => 8,
        }
    }

    /// Whether it holds real numbers.
    pub fn is_real(self) -> bool {
        matches!(self, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::Bf16)
    }
}

/// The name of a tensor, for messages.
fn fault(tensor: &TensorProto, why: impl Into<String>) -> OnnxError {
    OnnxError::Tensor {
        name: tensor.name.clone().unwrap_or_default(),
        why: why.into(),
    }
}

/// The element type of a tensor.
pub fn dtype(tensor: &TensorProto) -> Result<Dtype, OnnxError> {
    let id = tensor.data_type.unwrap_or(0);
    Dtype::from_id(id).ok_or_else(|| fault(tensor, format!("its element type {id} is not read")))
}

/// The sizes of a tensor, and their product.
pub fn sizes(tensor: &TensorProto) -> Result<(Vec<usize>, usize), OnnxError> {
    let mut sizes = Vec::with_capacity(tensor.dims.len());
    let mut count = 1usize;
    for dim in &tensor.dims {
        let size = usize::try_from(*dim)
            .map_err(|_| fault(tensor, format!("an axis of {dim} elements")))?;
        count = count
            .checked_mul(size)
            .filter(|count| *count <= MAX_ELEMENTS)
            .ok_or_else(|| fault(tensor, format!("{:?} is absurdly large", tensor.dims)))?;
        sizes.push(size);
    }
    Ok((sizes, count))
}

/// The numbers of a tensor as f64, in which all types but large 64-bit integers are exact.
pub fn reals(tensor: &TensorProto, external: &External) -> Result<Vec<f64>, OnnxError> {
    let dtype = dtype(tensor)?;
    let (_, count) = sizes(tensor)?;
    let numbers = match payload(tensor, external)? {
        Some(bytes) => {
            if Some(bytes.len()) != count.checked_mul(dtype.bytes()) {
                return Err(fault(
                    tensor,
                    format!("{} bytes do not hold {:?}", bytes.len(), tensor.dims),
                ));
            }
            from_bytes(&bytes, dtype)
        }
        None => typed(tensor, dtype),
    };
    if numbers.len() != count {
        return Err(fault(
            tensor,
            format!("{} numbers do not fill {:?}", numbers.len(), tensor.dims),
        ));
    }
    Ok(numbers)
}

/// The numbers of a tensor as f32, to which those of wider types are rounded. The memory in which
/// they were read from a file is given back.
pub fn floats(tensor: &TensorProto, external: &External) -> Result<Vec<f32>, OnnxError> {
    converted(tensor, external, |x| x, |x| x as f32)
}

/// The same numbers, rounded to f32, as f64.
pub fn wide_floats(tensor: &TensorProto, external: &External) -> Result<Vec<f64>, OnnxError> {
    converted(tensor, external, f64::from, |x| f64::from(x as f32))
}

fn converted<T>(
    tensor: &TensorProto,
    external: &External,
    narrow: impl Fn(f32) -> T,
    wide: impl Fn(f64) -> T,
) -> Result<Vec<T>, OnnxError> {
    let (dtype, (_, count)) = (dtype(tensor)?, sizes(tensor)?);
    let bytes = payload(tensor, external)?;
    let numbers = match &bytes {
        Some(bytes) if dtype == Dtype::F32 && Some(bytes.len()) == count.checked_mul(4) => {
            let words = bytes.as_chunks::<4>().0.iter();
            words
                .map(|word| narrow(f32::from_le_bytes(*word)))
                .collect()
        }
        _ => reals(tensor, external)?.into_iter().map(wide).collect(),
    };
    if let Some(bytes) = bytes {
        external.release(&bytes);
    }
    Ok(numbers)
}

/// Refuses a tensor whose bytes are not as many as its sizes say, without reading them.
pub(crate) fn check_length(tensor: &TensorProto, external: &External) -> Result<(), OnnxError> {
    let (dtype, (_, count)) = (dtype(tensor)?, sizes(tensor)?);
    let wrong = |bytes: usize| Some(bytes) != count.checked_mul(dtype.bytes());
    match payload(tensor, external)? {
        Some(bytes) if wrong(bytes.len()) => Err(fault(
            tensor,
            format!("{} bytes do not hold {:?}", bytes.len(), tensor.dims),
        )),
        Some(_) => Ok(()),
        None => reals(tensor, external).map(|_| ()),
    }
}

/// The numbers of an integer tensor.
pub fn ints(tensor: &TensorProto, external: &External) -> Result<Vec<i64>, OnnxError> {
    if dtype(tensor)? == Dtype::I64 {
        let (_, count) = sizes(tensor)?;
        let numbers: Vec<i64> = match payload(tensor, external)? {
            Some(bytes) => bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
            None => tensor.int64_data.clone(),
        };
        if numbers.len() != count {
            return Err(fault(tensor, format!("does not fill {:?}", tensor.dims)));
        }
        return Ok(numbers);
    }
    Ok(reals(tensor, external)?.iter().map(|x| *x as i64).collect())
}

/// The raw bytes of a tensor, wherever they are; `None` if it is stored as typed numbers.
pub fn payload(tensor: &TensorProto, external: &External) -> Result<Option<Bytes>, OnnxError> {
    if tensor.data_location == Some(1) {
        return external.slice(tensor).map(Some);
    }
    Ok(tensor.raw_data.clone())
}

fn from_bytes(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
    macro_rules! read {
        ($width:literal, $convert:expr) => {
            bytes.as_chunks::<$width>().0.iter().map($convert).collect()
        };
    }
    match dtype {
        Dtype::F32 => read!(4, |b| f64::from(f32::from_le_bytes(*b))),
        Dtype::F64 => read!(8, |b| f64::from_le_bytes(*b)),
        Dtype::F16 => read!(2, |b| f16::from_le_bytes(*b).to_f64()),
        Dtype::Bf16 => read!(2, |b| bf16::from_le_bytes(*b).to_f64()),
        Dtype::U8 | Dtype::Bool => bytes.iter().map(|b| f64::from(*b)).collect(),
        Dtype::I8 => bytes.iter().map(|b| f64::from(*b as i8)).collect(),
        Dtype::U16 => read!(2, |b| f64::from(u16::from_le_bytes(*b))),
        Dtype::I16 => read!(2, |b| f64::from(i16::from_le_bytes(*b))),
        Dtype::I32 => read!(4, |b| f64::from(i32::from_le_bytes(*b))),
        Dtype::U32 => read!(4, |b| f64::from(u32::from_le_bytes(*b))),
        Dtype::I64 => read!(8, |b| i64::from_le_bytes(*b) as f64),
        Dtype::U64 => read!(8, |b| u64::from_le_bytes(*b) as f64),
    }
}

/// Numbers stored in the typed fields; half floats are bit patterns in the field of integers.
fn typed(tensor: &TensorProto, dtype: Dtype) -> Vec<f64> {
    let integers = || tensor.int32_data.iter();
    match dtype {
        Dtype::F32 => tensor.float_data.iter().map(|x| f64::from(*x)).collect(),
        Dtype::F64 => tensor.double_data.clone(),
        Dtype::I64 => tensor.int64_data.iter().map(|x| *x as f64).collect(),
        Dtype::U32 | Dtype::U64 => tensor.uint64_data.iter().map(|x| *x as f64).collect(),
        Dtype::F16 => integers()
            .map(|x| f16::from_bits(*x as u16).to_f64())
            .collect(),
        Dtype::Bf16 => integers()
            .map(|x| bf16::from_bits(*x as u16).to_f64())
            .collect(),
        _ => integers().map(|x| f64::from(*x)).collect(),
    }
}

/// Numbers as little-endian bytes of a type; integers are rounded.
pub fn to_bytes(numbers: impl Iterator<Item = f64>, dtype: Dtype) -> Bytes {
    let mut bytes = Vec::with_capacity(numbers.size_hint().0 * dtype.bytes());
    for x in numbers {
        match dtype {
            Dtype::F32 => bytes.extend((x as f32).to_le_bytes()),
            Dtype::F64 => bytes.extend(x.to_le_bytes()),
            Dtype::F16 => bytes.extend(f16::from_f64(x).to_le_bytes()),
            Dtype::Bf16 => bytes.extend(bf16::from_f64(x).to_le_bytes()),
            Dtype::U8 | Dtype::Bool => bytes.push(x as u8),
            Dtype::I8 => bytes.extend((x as i8).to_le_bytes()),
            Dtype::U16 => bytes.extend((x as u16).to_le_bytes()),
            Dtype::I16 => bytes.extend((x as i16).to_le_bytes()),
            Dtype::I32 => bytes.extend((x as i32).to_le_bytes()),
            Dtype::U32 => bytes.extend((x as u32).to_le_bytes()),
            Dtype::I64 => bytes.extend((x as i64).to_le_bytes()),
            Dtype::U64 => bytes.extend((x as u64).to_le_bytes()),
        }
    }
    Bytes::from(bytes)
}

/// Single floats as bytes of a type. Those that stay what they are, are not copied.
pub fn floats_to_bytes(numbers: Vec<f32>, dtype: Dtype) -> Bytes {
    if dtype != Dtype::F32 || cfg!(target_endian = "big") {
        return to_bytes(numbers.into_iter().map(f64::from), dtype);
    }
    Bytes::from_owner(Floats(numbers))
}

/// Numbers in memory as the bytes that they are there.
struct Floats(Vec<f32>);

impl AsRef<[u8]> for Floats {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// Whether a tensor is no more than stated by [`unmade`].
pub(crate) fn is_unmade(tensor: &TensorProto) -> bool {
    let mut entries = tensor.external_data.iter();
    tensor.data_location == Some(1) && entries.any(|e| e.key() == "location" && e.value() == UNMADE)
}

/// The parameter whose numbers a tensor is to have that is no more than stated.
pub(crate) fn parameter(tensor: &TensorProto) -> Option<&str> {
    let mut entries = tensor.external_data.iter();
    let entry = entries.find(|entry| entry.key() == "parameter");
    entry
        .filter(|_| is_unmade(tensor))
        .map(StringStringEntryProto::value)
}

/// A tensor of the same name, type and notes with other numbers, which are a parameter's and are
/// made when they are asked for.
pub(crate) fn unmade(old: &TensorProto, dims: &[usize], parameter: &str) -> TensorProto {
    let entries = [("location", UNMADE), ("parameter", parameter)];
    let entry = |(key, value): (&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    TensorProto {
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: old.data_type,
        name: old.name.clone(),
        doc_string: old.doc_string.clone(),
        data_location: Some(1),
        external_data: entries.map(entry).into(),
        metadata_props: old.metadata_props.clone(),
        ..TensorProto::default()
    }
}

/// A tensor of the same name, type and notes with other numbers, stored as raw bytes.
pub fn with_numbers(
    old: &TensorProto,
    dims: &[usize],
    numbers: impl Iterator<Item = f64>,
) -> Result<TensorProto, OnnxError> {
    Ok(TensorProto {
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: old.data_type,
        name: old.name.clone(),
        doc_string: old.doc_string.clone(),
        raw_data: Some(to_bytes(numbers, dtype(old)?)),
        metadata_props: old.metadata_props.clone(),
        ..TensorProto::default()
    })
}

/// A new tensor of whole numbers.
pub fn of_ints(name: &str, dims: &[usize], numbers: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    TensorProto {
        dims: dims.iter().map(|size| *size as i64).collect(),
        data_type: Some(7),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(bytes)),
        ..TensorProto::default()
    }
}
