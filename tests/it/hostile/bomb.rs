//! A gzip bomb: zeros, packed by hand as RFC 1951 and RFC 1952 have it.

/// Bits as deflate writes them, the least significant bit of a byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    free: u32,
}

impl Bits {
    fn push(&mut self, bit: u8) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        *self.bytes.last_mut().unwrap() |= bit << (8 - self.free);
        self.free -= 1;
    }

    /// A code of Huffman's, written like this.
    fn code(&mut self, code: &str) {
        code.bytes().for_each(|digit| self.push(digit - b'0'));
    }
}

/// About so many bytes that unpack to some 158 times as many.
pub(super) fn gzip(packed: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // The last block, with the fixed codes; a zero.
    bits.code("1");
    bits.code("10");
    bits.code("00110000");
    while bits.bytes.len() < packed {
        // 258 bytes, from one byte back.
        bits.code("11000101");
        bits.code("00000");
    }
    bits.code("0000000");
    [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &bits.bytes[..], &[0; 8]].concat()
}
