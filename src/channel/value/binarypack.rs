//! BinaryPack, the serialization of PeerJS data connections: big-endian, close to MessagePack, with tags of its own for texts
//! and bytes (peerjs.md §4.2; compared with `peerjs-js-binarypack` 2.1.0).

use bytes::{BufMut, Bytes, BytesMut};

use super::{MAX_DEPTH, MAX_ITEMS, Members, Value};

/// Why bytes are not BinaryPack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// They end within a value.
    #[error("the value is cut short")]
    Short,
    /// A tag that the format does not have.
    #[error("unknown tag 0x{0:02x}")]
    Tag(u8),
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A member's name that is neither text nor number.
    #[error("a member has no usable name")]
    Name,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested too deep")]
    Depth,
    /// More than [`MAX_ITEMS`] values.
    #[error("too many values")]
    Items,
}

/// Reads one value; what follows it is not looked at (as the original does).
pub fn decode(bytes: &Bytes) -> Result<Value, PackError> {
    Reader { bytes, at: 0, items: MAX_ITEMS }.value(MAX_DEPTH)
}

/// Writes a value.
pub fn encode(value: &Value) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out, value);
    out.freeze()
}

/// Writes a part of a larger message: `{__peerData, n, data, total}`.
pub fn encode_chunk(message: u64, index: u64, data: &[u8], total: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 64);
    out.put_u8(0x84);
    let mut member = |name: &str, n: u64| {
        write_text(&mut out, name);
        write_uint(&mut out, n);
    };
    member("__peerData", message);
    member("n", index);
    write_text(&mut out, "data");
    write_len(&mut out, data.len(), (0xa0, 0xda));
    out.put_slice(data);
    write_text(&mut out, "total");
    write_uint(&mut out, total);
    out.freeze()
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
    items: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], PackError> {
        let end = self.at.checked_add(len).ok_or(PackError::Short)?;
        let taken = self.bytes.get(self.at..end).ok_or(PackError::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PackError> {
        self.take(N)?.try_into().map_err(|_| PackError::Short)
    }

    fn u8(&mut self) -> Result<u8, PackError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, PackError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, PackError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn value(&mut self, depth: usize) -> Result<Value, PackError> {
        self.items = self.items.checked_sub(1).ok_or(PackError::Items)?;
        let tag = self.u8()?;
        let short = usize::from(tag & 0x0f);
        Ok(match tag {
            0x00..=0x7f => Value::UInt(tag.into()),
            0xe0..=0xff => i64::from(tag as i8).into(),
            0x80..=0x8f => self.map(short, depth)?,
            0x90..=0x9f => self.list(short, depth)?,
            0xa0..=0xaf => self.bytes(short)?,
            0xb0..=0xbf => self.text(short)?,
            0xc0 | 0xc1 => Value::Null,
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xca => Value::Float(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::UInt(self.u8()?.into()),
            0xcd => Value::UInt(self.u16()?.into()),
            0xce => Value::UInt(self.u32()?.into()),
            0xcf => Value::UInt(u64::from_be_bytes(self.array()?)),
            0xd0 => i64::from(i8::from_be_bytes(self.array()?)).into(),
            0xd1 => i64::from(i16::from_be_bytes(self.array()?)).into(),
            0xd2 => i64::from(i32::from_be_bytes(self.array()?)).into(),
            0xd3 => i64::from_be_bytes(self.array()?).into(),
            0xd8 => self.u16().and_then(|len| self.text(len.into()))?,
            0xd9 => self.long().and_then(|len| self.text(len))?,
            0xda => self.u16().and_then(|len| self.bytes(len.into()))?,
            0xdb => self.long().and_then(|len| self.bytes(len))?,
            0xdc => self.u16().and_then(|len| self.list(len.into(), depth))?,
            0xdd => self.long().and_then(|len| self.list(len, depth))?,
            0xde => self.u16().and_then(|len| self.map(len.into(), depth))?,
            0xdf => self.long().and_then(|len| self.map(len, depth))?,
            0xc4..=0xc9 | 0xd4..=0xd7 => return Err(PackError::Tag(tag)),
        })
    }

    fn long(&mut self) -> Result<usize, PackError> {
        usize::try_from(self.u32()?).map_err(|_| PackError::Short)
    }

    fn text(&mut self, len: usize) -> Result<Value, PackError> {
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| PackError::Text)?;
        Ok(Value::Text(text.to_owned()))
    }

    fn bytes(&mut self, len: usize) -> Result<Value, PackError> {
        let start = self.at;
        self.take(len)?;
        Ok(Value::Bytes(self.bytes.slice(start..self.at)))
    }

    fn list(&mut self, len: usize, depth: usize) -> Result<Value, PackError> {
        let depth = depth.checked_sub(1).ok_or(PackError::Depth)?;
        // no capacity from a length that was only claimed
        let mut list = Vec::new();
        for _ in 0..len {
            list.push(self.value(depth)?);
        }
        Ok(Value::List(list))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, PackError> {
        let depth = depth.checked_sub(1).ok_or(PackError::Depth)?;
        let mut members = Members::default();
        for _ in 0..len {
            let name = match self.value(0)? {
                Value::Text(name) => name,
                Value::UInt(n) => n.to_string(),
                Value::Int(n) => n.to_string(),
                _ => return Err(PackError::Name),
            };
            let value = self.value(depth)?;
            members.put(name, value);
        }
        Ok(Value::Map(members.list))
    }
}

fn write(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Null => out.put_u8(0xc0),
        Value::Bool(value) => out.put_u8(if *value { 0xc3 } else { 0xc2 }),
        Value::UInt(n) => write_uint(out, *n),
        Value::Int(n) => write_int(out, *n),
        Value::Float(n) => {
            out.put_u8(0xcb);
            out.put_f64(*n);
        }
        Value::Text(text) => write_text(out, text),
        Value::Bytes(bytes) => {
            write_len(out, bytes.len(), (0xa0, 0xda));
            out.put_slice(bytes);
        }
        Value::List(list) => {
            write_len(out, list.len(), (0x90, 0xdc));
            list.iter().for_each(|value| write(out, value));
        }
        Value::Map(members) => {
            write_len(out, members.len(), (0x80, 0xde));
            for (name, value) in members {
                write_text(out, name);
                write(out, value);
            }
        }
    }
}

/// The head of something with a length: the short tag up to 15, else the long tag with 16 bits, else the next tag with 32.
fn write_len(out: &mut BytesMut, len: usize, (short, long): (u8, u8)) {
    match len {
        0..=15 => out.put_u8(short | len as u8),
        16..=0xffff => {
            out.put_u8(long);
            out.put_u16(len as u16);
        }
        // no message reaches 4 GiB: reassembly ends at 16 MiB
        _ => {
            out.put_u8(long + 1);
            out.put_u32(len as u32);
        }
    }
}

fn write_text(out: &mut BytesMut, text: &str) {
    write_len(out, text.len(), (0xb0, 0xd8));
    out.put_slice(text.as_bytes());
}

fn write_uint(out: &mut BytesMut, n: u64) {
    match n {
        0..=0x7f => out.put_u8(n as u8),
        0x80..=0xff => {
            out.put_u8(0xcc);
            out.put_u8(n as u8);
        }
        0x100..=0xffff => {
            out.put_u8(0xcd);
            out.put_u16(n as u16);
        }
        0x1_0000..=0xffff_ffff => {
            out.put_u8(0xce);
            out.put_u32(n as u32);
        }
        // the original writes these as signed, too
        0x1_0000_0000..=0x7fff_ffff_ffff_ffff => {
            out.put_u8(0xd3);
            out.put_u64(n);
        }
        _ => {
            out.put_u8(0xcf);
            out.put_u64(n);
        }
    }
}

fn write_int(out: &mut BytesMut, n: i64) {
    match n {
        0.. => write_uint(out, n.unsigned_abs()),
        -32..=-1 => out.put_i8(n as i8),
        -0x80..=-33 => {
            out.put_u8(0xd0);
            out.put_i8(n as i8);
        }
        -0x8000..=-0x81 => {
            out.put_u8(0xd1);
            out.put_i16(n as i16);
        }
        -0x8000_0000..=-0x8001 => {
            out.put_u8(0xd2);
            out.put_i32(n as i32);
        }
        // the original misreads negative 64-bit numbers (one too high); a float it reads right
        _ => {
            out.put_u8(0xcb);
            out.put_f64(n as f64);
        }
    }
}
