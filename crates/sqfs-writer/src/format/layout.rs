//! How structures and their fields become bytes.

use std::mem;

/// A value that knows its bytes.
pub(crate) trait Field: Copy {
    /// Bytes on disk.
    const SIZE: usize;
    /// Writes itself to the front of `at`, and moves `at` past it.
    fn put(self, at: &mut &mut [u8]);
}

/// Copies `bytes` to the front of `at`. The sizes are proven by the assertion in [`layout!`].
fn put_bytes(bytes: &[u8], at: &mut &mut [u8]) {
    let (head, rest) = mem::take(at).split_at_mut(bytes.len());
    head.copy_from_slice(bytes);
    *at = rest;
}

macro_rules! integer_fields {
    ($($integer:ty),+) => {$(
        impl Field for $integer {
            const SIZE: usize = size_of::<$integer>();
            fn put(self, at: &mut &mut [u8]) {
                put_bytes(&self.to_le_bytes(), at);
            }
        }
    )+};
}
integer_fields!(u16, i16, u32, i32, u64);

/// Declares newtypes over an integer that are fields.
macro_rules! newtype {
    ($(#[$meta:meta])* $name:ident($integer:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) $integer);

        impl crate::format::layout::Field for $name {
            const SIZE: usize = size_of::<$integer>();
            fn put(self, at: &mut &mut [u8]) {
                self.0.put(at);
            }
        }
    };
}
pub(super) use newtype;

/// Declares a structure on disk: its size, then its fields in order.
macro_rules! layout {
    (
        $(#[$meta:meta])*
        $name:ident: $size:literal {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name {
            $($(#[$field_meta])* pub(crate) $field: $type,)+
        }

        impl crate::format::layout::Field for $name {
            const SIZE: usize = $size;
            fn put(self, at: &mut &mut [u8]) {
                $(self.$field.put(at);)+
            }
        }

        impl $name {
            /// Returns the bytes of the structure on disk.
            pub(crate) fn to_bytes(self) -> [u8; $size] {
                const { assert!($size == 0 $(+ <$type as crate::format::layout::Field>::SIZE)+) };
                let mut bytes = [0; $size];
                crate::format::layout::Field::put(self, &mut &mut bytes[..]);
                bytes
            }
        }
    };
}
pub(super) use layout;
