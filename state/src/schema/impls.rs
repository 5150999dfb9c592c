//! Schemas of the types everyone has.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::marker::PhantomData;

use super::{Schema, SchemaBuilder};
use crate::KeyHasher;

/// One word of its own width; `$unsigned` keeps the two's complement bits without sign extension.
macro_rules! integer_schema {
    ($($integer:ty as $unsigned:ty => $write:ident),* $(,)?) => {$(
        impl Schema for $integer {
            fn describe(out: &mut SchemaBuilder) {
                out.primitive(stringify!($integer));
            }

            #[inline]
            fn hash_key(&self, hasher: &mut KeyHasher) {
                hasher.$write(*self as $unsigned);
            }
        }
    )*};
}

integer_schema! {
    u8 as u8 => write_u8, u16 as u16 => write_u16, u32 as u32 => write_u32,
    u64 as u64 => write_u64, u128 as u128 => write_u128,
    i8 as u8 => write_u8, i16 as u16 => write_u16, i32 as u32 => write_u32,
    i64 as u64 => write_u64, i128 as u128 => write_u128,
    bool as u8 => write_u8, char as u32 => write_u32,
}

impl Schema for f32 {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("f32");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u32(self.to_bits());
    }
}

impl Schema for f64 {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("f64");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_u64(self.to_bits());
    }
}

impl Schema for str {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("String");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_str(self);
    }
}

impl Schema for String {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("String");
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_str(self);
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Vec", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        self.iter().for_each(|element| element.hash_key(hasher));
    }
}

impl<T: Schema> Schema for Option<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Option", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        match self {
            None => hasher.write_u32(0),
            Some(value) => {
                hasher.write_u32(1);
                value.hash_key(hasher);
            }
        }
    }
}

impl<T: Schema> Schema for Box<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("Box", &[T::describe]);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        T::hash_key(self, hasher);
    }
}

impl<T: Schema, const LENGTH: usize> Schema for [T; LENGTH] {
    fn describe(out: &mut SchemaBuilder) {
        out.array::<T>(LENGTH);
    }

    #[inline]
    fn hash_key(&self, hasher: &mut KeyHasher) {
        self.iter().for_each(|element| element.hash_key(hasher));
    }
}

/// A marker has no value; the type it marks is not a part of the structure.
impl<T: ?Sized + 'static> Schema for PhantomData<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.primitive("PhantomData");
    }

    #[inline]
    fn hash_key(&self, _: &mut KeyHasher) {}
}

impl Schema for () {
    fn describe(out: &mut SchemaBuilder) {
        out.tuple(&[]);
    }

    #[inline]
    fn hash_key(&self, _: &mut KeyHasher) {}
}

macro_rules! tuple_schema {
    ($($element:ident $index:tt),*) => {
        impl<$($element: Schema),*> Schema for ($($element,)*) {
            fn describe(out: &mut SchemaBuilder) {
                out.tuple(&[$($element::describe),*]);
            }

            #[inline]
            fn hash_key(&self, hasher: &mut KeyHasher) {
                $(self.$index.hash_key(hasher);)*
            }
        }
    };
}

tuple_schema!(A 0);
tuple_schema!(A 0, B 1);
tuple_schema!(A 0, B 1, C 2);
tuple_schema!(A 0, B 1, C 2, D 3);
tuple_schema!(A 0, B 1, C 2, D 3, E 4);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple_schema!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

impl<K: Schema, V: Schema> Schema for BTreeMap<K, V> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("BTreeMap", &[K::describe, V::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        for (key, value) in self {
            key.hash_key(hasher);
            value.hash_key(hasher);
        }
    }
}

impl<T: Schema> Schema for BTreeSet<T> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("BTreeSet", &[T::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        self.iter().for_each(|element| element.hash_key(hasher));
    }
}

impl<K: Schema, V: Schema, S: 'static> Schema for HashMap<K, V, S> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("HashMap", &[K::describe, V::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        hasher.write_u64(sum_of_states(self, |(key, value), entry| {
            key.hash_key(entry);
            value.hash_key(entry);
        }));
    }
}

impl<T: Schema, S: 'static> Schema for HashSet<T, S> {
    fn describe(out: &mut SchemaBuilder) {
        out.container("HashSet", &[T::describe]);
    }

    fn hash_key(&self, hasher: &mut KeyHasher) {
        hasher.write_length(self.len());
        hasher.write_u64(sum_of_states(self, |element, entry| element.hash_key(entry)));
    }
}

/// The order-independent word of an unordered collection.
fn sum_of_states<I: IntoIterator>(entries: I, absorb: impl Fn(I::Item, &mut KeyHasher)) -> u64 {
    entries.into_iter().fold(0_u64, |sum, item| {
        let mut entry = KeyHasher::new();
        absorb(item, &mut entry);
        sum.wrapping_add(entry.state())
    })
}
