//! The departments' tables in a server's types: what is a text by habit stays one, times are times.

use super::Table;

/// The household register, for MariaDB.
pub const POLICE: &[Table] = &[
    Table {
        name: "T_XZQH",
        columns: &[
            ("XZQHDM", "char(6) not null"),
            ("XDM", "char(6)"),
            ("QYRQ", "date not null"),
            ("TYRQ", "date"),
        ],
        key: Some("XZQHDM"),
        indexes: &[],
    },
    Table {
        name: "T_HU",
        columns: &[
            ("HH", "varchar(20) not null"),
            ("HZSFZH", "varchar(18)"),
            ("HLX", "varchar(20) not null"),
            ("LHRQ", "char(8) not null"),
            ("DZBM", "varchar(30) not null"),
        ],
        key: Some("HH"),
        indexes: &[],
    },
    Table {
        name: "T_RY",
        columns: &[
            ("RYBH", "int not null"),
            ("HH", "varchar(20) not null"),
            ("XM", "varchar(60) not null"),
            ("XB", "char(1)"),
            ("CSRQ", "char(8)"),
            ("SFZH", "varchar(18)"),
            ("GJ", "char(3) not null"),
            ("YHZGX", "char(2) not null"),
            ("SWBZ", "char(1) not null"),
            ("ZXBZ", "char(1) not null"),
            ("GXSJ", "datetime not null"),
        ],
        key: Some("RYBH"),
        indexes: &["SFZH", "HH"],
    },
    Table {
        name: "T_JZ",
        columns: &[
            ("JZBH", "int not null"),
            ("SFZH", "varchar(18) not null"),
            ("DZBM", "varchar(30) not null"),
            ("JZLX", "char(1) not null"),
            ("QSRQ", "date not null"),
            ("ZZRQ", "date"),
            ("GXSJ", "datetime not null"),
        ],
        key: Some("JZBH"),
        indexes: &["SFZH"],
    },
];

/// Applicants, assistance and marriages, for PostgreSQL.
pub const CIVIL_AFFAIRS: &[Table] = &[
    Table {
        name: "mz_grxx",
        columns: &[
            ("gr_id", "integer not null"),
            ("xm", "text not null"),
            ("sfzh", "text not null"),
            ("xb", "text not null"),
            ("csrq", "text"),
            ("lxdh", "text"),
            ("gxsj", "timestamp not null"),
        ],
        key: Some("gr_id"),
        indexes: &["sfzh"],
    },
    Table {
        name: "mz_jzdx",
        columns: &[
            ("yw_bh", "text not null"),
            ("sfzh", "text not null"),
            ("jt_bh", "text not null"),
            ("jzlb", "text not null"),
            ("zt", "text not null"),
            ("ks_rq", "text not null"),
            ("js_rq", "text"),
            ("je", "integer not null"),
            ("xzqh", "text not null"),
            ("gxsj", "timestamp not null"),
        ],
        key: Some("yw_bh"),
        indexes: &["sfzh"],
    },
    Table {
        name: "mz_hydj",
        columns: &[
            ("djz_bh", "text not null"),
            ("nan_sfzh", "text"),
            ("nv_sfzh", "text"),
            ("dj_rq", "text not null"),
            ("zt", "text not null"),
            ("gxsj", "timestamp not null"),
        ],
        key: Some("djz_bh"),
        indexes: &["nan_sfzh", "nv_sfzh"],
    },
];

/// The table behind the throughput figures, for both.
pub const BENCH: &[Table] = &[Table {
    name: "REC",
    columns: &[
        ("ID", "varchar(18) not null"),
        ("NM", "varchar(60) not null"),
        ("GIVEN", "varchar(60) not null"),
        ("FAM", "varchar(20) not null"),
        ("SEX", "varchar(1) not null"),
        ("ADDR", "varchar(700) not null"),
        ("SUBURB", "varchar(120) not null"),
        ("STATE", "varchar(40) not null"),
        ("ZIP", "varchar(6) not null"),
        ("UPD", "varchar(20) not null"),
    ],
    key: Some("ID"),
    indexes: &[],
}];
