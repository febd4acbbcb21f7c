//! Golden bytes: each field has a value of its own, so that a swapped pair shows.

use super::*;

#[test]
fn superblock_bytes() {
    let bytes = Superblock {
        s_magic: Superblock::MAGIC,
        inodes: 0x0101_0102,
        mkfs_time: 0x0202_0203,
        block_size: 0x0002_0000,
        fragments: 0x0303_0304,
        compression: Compression::ZSTD,
        block_log: 17,
        flags: Flags(Flags::EXPORTABLE | Flags::COMPRESSOR_OPTIONS),
        no_ids: 0x0405,
        s_major: 4,
        s_minor: 0,
        root_inode: InodeRef(0x0506_0708_090A),
        bytes_used: 11,
        id_table_start: 12,
        xattr_id_table_start: ABSENT,
        inode_table_start: 13,
        directory_table_start: 14,
        fragment_table_start: 15,
        lookup_table_start: 16,
    }
    .to_bytes();
    let expected: [&[u8]; 19] = [
        b"hsqs",
        &[2, 1, 1, 1],
        &[3, 2, 2, 2],
        &[0, 0, 2, 0],
        &[4, 3, 3, 3],
        &[6, 0],
        &[17, 0],
        &[0x80, 0x04],
        &[5, 4],
        &[4, 0],
        &[0, 0],
        &[0x0A, 9, 8, 7, 6, 5, 0, 0],
        &[11, 0, 0, 0, 0, 0, 0, 0],
        &[12, 0, 0, 0, 0, 0, 0, 0],
        &[0xFF; 8],
        &[13, 0, 0, 0, 0, 0, 0, 0],
        &[14, 0, 0, 0, 0, 0, 0, 0],
        &[15, 0, 0, 0, 0, 0, 0, 0],
        &[16, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(bytes.as_slice(), expected.concat());
}

#[test]
fn inode_bytes() {
    let header = InodeHeader {
        inode_type: InodeType::File.extended(),
        mode: 0o4755,
        uid: IdIndex(1),
        guid: IdIndex(2),
        mtime: 0x0A0B_0C0D,
        inode_number: InodeNumber(3),
    };
    assert_eq!(
        header.to_bytes(),
        [
            9, 0, 0xED, 9, 1, 0, 2, 0, 0x0D, 0x0C, 0x0B, 0x0A, 3, 0, 0, 0
        ]
    );
    let directory = DirInode {
        start_block: 1,
        nlink: 2,
        file_size: 3,
        offset: 4,
        parent_inode: InodeNumber(5),
    };
    assert_eq!(
        directory.to_bytes(),
        [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 4, 0, 5, 0, 0, 0]
    );
    let directory = LDirInode {
        nlink: 1,
        file_size: 2,
        start_block: 3,
        parent_inode: InodeNumber(4),
        i_count: 5,
        offset: 6,
        xattr: XattrIndex::NONE,
    };
    assert_eq!(
        directory.to_bytes(),
        [
            1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 6, 0, 255, 255, 255, 255
        ]
    );
    let file = FileInode {
        start_block: 1,
        fragment: FragmentIndex::NONE,
        offset: 2,
        file_size: 3,
    };
    assert_eq!(
        file.to_bytes(),
        [1, 0, 0, 0, 255, 255, 255, 255, 2, 0, 0, 0, 3, 0, 0, 0]
    );
    let file = LFileInode {
        start_block: 1,
        file_size: 2,
        sparse: 3,
        nlink: 4,
        fragment: FragmentIndex(5),
        offset: 6,
        xattr: XattrIndex(7),
    };
    let fields: [&[u8]; 7] = [
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[4, 0, 0, 0],
        &[5, 0, 0, 0],
        &[6, 0, 0, 0],
        &[7, 0, 0, 0],
    ];
    assert_eq!(file.to_bytes().as_slice(), fields.concat());
    let symlink = SymlinkInode {
        nlink: 1,
        symlink_size: 2,
    };
    assert_eq!(symlink.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0]);
    let device = DevInode { nlink: 1, rdev: 2 };
    assert_eq!(device.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(IpcInode { nlink: 1 }.to_bytes(), [1, 0, 0, 0]);
}

#[test]
fn listing_bytes() {
    let header = DirHeader {
        count: 1,
        start_block: 2,
        inode_number: InodeNumber(3),
    };
    assert_eq!(header.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
    let entry = DirEntry {
        offset: 1,
        inode_number: -2,
        entry_type: 3,
        size: 4,
    };
    assert_eq!(entry.to_bytes(), [1, 0, 0xFE, 0xFF, 3, 0, 4, 0]);
    let index = DirIndex {
        index: 1,
        start_block: 2,
        size: 3,
    };
    assert_eq!(index.to_bytes(), [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]);
}

#[test]
fn table_bytes() {
    let fragment = FragmentEntry {
        start_block: 1,
        size: BlockWord(BlockWord::RAW | 2),
        unused: 0,
    };
    assert_eq!(
        fragment.to_bytes(),
        [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0]
    );
    let id = XattrId {
        xattr: 1,
        count: 2,
        size: 3,
    };
    assert_eq!(
        id.to_bytes(),
        [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]
    );
    let header = XattrTableHeader {
        xattr_table_start: 1,
        xattr_ids: 2,
        unused: 0,
    };
    assert_eq!(
        header.to_bytes(),
        [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    );
    let entry = XattrEntry {
        xattr_type: XattrType(XattrType::OUT_OF_LINE | 2),
        size: 3,
    };
    assert_eq!(entry.to_bytes(), [2, 1, 3, 0]);
    assert_eq!(XattrValue { vsize: 1 }.to_bytes(), [1, 0, 0, 0]);
    let gzip = GzipOptions {
        compression_level: 6,
        window_size: 15,
        strategy: 0,
    };
    assert_eq!(gzip.to_bytes(), [6, 0, 0, 0, 15, 0, 0, 0]);
    let zstd = ZstdOptions {
        compression_level: 3,
    };
    assert_eq!(zstd.to_bytes(), [3, 0, 0, 0]);
}

#[test]
fn device_numbers() {
    let cases = [
        ((0, 0), Some(0)),
        ((1, 3), Some(0x0000_0103)),
        ((8, 256), Some(0x0010_0800)),
        ((0xFFF, 0xF_FFFF), Some(0xFFFF_FFFF)),
        ((0x1000, 0), None),
        ((0, 0x10_0000), None),
    ];
    for ((major, minor), expected) in cases {
        assert_eq!(device_number(major, minor), expected, "{major}:{minor}");
    }
}

#[test]
fn positions_of_metadata_blocks_are_where_links_put_them() {
    const MARK: [u8; 4] = [0xAB; 4];
    let mark = u32::from_le_bytes(MARK);
    let header = DirHeader {
        count: 0,
        start_block: mark,
        inode_number: InodeNumber(0),
    };
    assert_eq!(header.to_bytes()[DirHeader::START_BLOCK..][..4], MARK);
    let index = DirIndex {
        index: 0,
        start_block: mark,
        size: 0,
    };
    assert_eq!(index.to_bytes()[DirIndex::START_BLOCK..][..4], MARK);
    let basic = DirInode {
        start_block: mark,
        nlink: 0,
        file_size: 0,
        offset: 0,
        parent_inode: InodeNumber(0),
    };
    assert_eq!(basic.to_bytes()[DirInode::START_BLOCK..][..4], MARK);
    let extended = LDirInode {
        nlink: 0,
        file_size: 0,
        start_block: mark,
        parent_inode: InodeNumber(0),
        i_count: 0,
        offset: 0,
        xattr: XattrIndex(0),
    };
    assert_eq!(extended.to_bytes()[LDirInode::START_BLOCK..][..4], MARK);
}
