/* The hot loop: bytes are walked once, cut into tokens, and the tokens meet the compiled index.
 *
 * Everything here is a filter that may say yes too often and never says no wrongly: what it names is parsed
 * and judged by the code that defines a match (reference.py). docs/matching.md tells why each step is there.
 *
 * - Buffers in and out, the GIL released, no allocation in the loop; the index is only read, and every read
 *   of it is bounded by the sizes that open_layout() has checked against the buffer itself.
 * - A token is a run of letters, digits, `.`, `-`, `_`, `:` and bytes from 0x80 on. `| 0x20` folds the letter
 *   case and stays injective on that alphabet (`_` becomes 0x7f).
 * - What can be written in another way (JSON's \uXXXX, Zeek's \xHH, %XX, XML entities, Unicode host names,
 *   IPv6) is decoded in a scratch buffer, or named without looking: payload ODD.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__) && !defined(INDICIA_SCALAR)
#include <emmintrin.h>
#define PATH_NAME "sse2"
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(INDICIA_SCALAR)
#include <arm_neon.h>
#define PATH_NAME "neon"
#else
#define PATH_NAME "scalar"
#endif

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define FOLD 0x2020202020202020ULL
#define ODD 0xFFFFFFFFu
#ifndef RING
#define RING 32 /* bench/steps.py builds it with others */
#endif
#define SLACK 2048 /* candidates that one token can give at the most, with what waits in the ring */
#define LITE_BYTES 8192
#define NETS_BYTES 8192
#define NAME_LIMIT 253 /* of a host name; so a token of a million labels is no million of long keys */

/* What a key stands for; the same text under two tags is two keys. index.py has the same numbers. */
enum { TAG_TEXT = 1, TAG_BELOW = 2, TAG_V6 = 3, TAG_NET4 = 4, TAG_NET6 = 5, TAG_GRAM = 6 };

/* Flags of an index. */
enum { HAS_BELOW = 1, HAS_DOTLESS = 2, HAS_NETS = 4, HAS_GRAMS = 8, ODD_ANY = 16, V6_ODD = 32, HAS_TOP = 64,
       EVERY = HAS_DOTLESS | HAS_GRAMS | HAS_TOP /* tokens without a dot count too */ };

/* Places in the layout: 64-bit little-endian numbers that index.py packs. */
enum { L_SEED, L_FLAGS, L_MINIMUM, L_BLOOM, L_BLOOM_WORDS, L_SLOTS, L_SLOT_COUNT, L_LITE, L_NETS, L_LENS4,
       L_LENS6A, L_LENS6B, L_GRAMS, L_GRAM_BITS, L_GRAM_LENGTHS, L_COUNT };

typedef struct {
    u64 seed, flags, minimum;
    const u8 *bloom; u64 bloom_words;
    const u8 *slots; u64 slot_count;
    const u8 *lite, *nets, *grams;
    u64 lens4, lens6a, lens6b;
    u32 gram_bits, gram_lengths;
} Index;

typedef struct { u64 hash, position; } Waiting;

typedef struct {
    const Index *index;
    u64 *out;              /* pairs: position, payload */
    size_t count, capacity; /* in pairs */
    int lost;               /* a candidate did not fit; the walk is to be taken up again at its line */
    u64 lost_at;
    int nested;            /* walking decoded text: every position is `fixed`, escapes are the caller's */
    u64 fixed;
    int all_odd;           /* name every run with bytes from 0x80 on */
    Waiting ring[RING];
    unsigned head, waiting;
    u8 *scratch; size_t scratch_size;
    const u8 *decoded_until; /* the line up to here has been decoded already */
    const u8 *odd_from, *odd_until; /* what lies between, of one line, has been named as odd already */
    const u8 *plain_until; /* the line up to here holds no markup */
    const u8 *first;       /* where what is walked begins; the base of positions may lie before it */
    const u8 *readable;    /* the end of the buffer, of which the walk may see a part alone */
} Walk;

/* ---------------------------------------------------------------- numbers */

static inline u64 load8(const u8 *p) { u64 v; memcpy(&v, p, 8); return v; }
static inline u32 load4(const u8 *p) { u32 v; memcpy(&v, p, 4); return v; }
static inline u64 load2(const u8 *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline void store8(u8 *p, u64 v) { memcpy(p, &v, 8); }

static inline u64 mix(u64 a, u64 b) {
#if defined(__SIZEOF_INT128__)
    unsigned __int128 r = (unsigned __int128)a * b;
    return (u64)r ^ (u64)(r >> 64);
#else
    u64 al = (u32)a, ah = a >> 32, bl = (u32)b, bh = b >> 32;
    u64 ll = al * bl, lh = al * bh, hl = ah * bl, hh = ah * bh;
    u64 mid = (ll >> 32) + (u32)lh + (u32)hl;
    u64 low = (mid << 32) | (u32)ll, high = hh + (lh >> 32) + (hl >> 32) + (mid >> 32);
    return low ^ high;
#endif
}

/* The upper 64 bits of a product: a hash becomes a place below n without a division. */
static inline u64 below(u64 hash, u64 n) {
#if defined(__SIZEOF_INT128__)
    return (u64)(((unsigned __int128)hash * n) >> 64);
#else
    u64 al = (u32)hash, ah = hash >> 32, bl = (u32)n, bh = n >> 32;
    u64 mid = ((al * bl) >> 32) + (u32)(al * bh) + (u32)(ah * bl);
    return ah * bh + ((al * bh) >> 32) + ((ah * bl) >> 32) + (mid >> 32);
#endif
}

#define K0 0xa0761d6478bd642fULL
#define K1 0xe7037ed1a0b428dbULL
#define K2 0x8ebc6af09c88c6e3ULL

/* Reads p[0..n) and nothing else. `fold` is FOLD for text, 0 for binary keys. */
static inline u64 hash_bytes(const u8 *p, size_t n, u64 fold, u64 seed, u64 tag) {
    u64 a, b, h = seed ^ (tag * K2) ^ n;
    if (n >= 8) {
        while (n > 16) {
            h = mix((load8(p) | fold) ^ K0, (load8(p + 8) | fold) ^ h);
            p += 8;
            n -= 8;
        }
        a = load8(p) | fold;
        b = load8(p + n - 8) | fold;
    } else if (n >= 4) {
        a = load4(p) | (u32)fold;
        b = load4(p + n - 4) | (u32)fold;
    } else if (n >= 2) {
        a = load2(p) | (fold & 0x2020);
        b = (u64)p[n - 1] | (fold & 0x20);
    } else {
        a = n ? (u64)p[0] | (fold & 0x20) : 0;
        b = 0;
    }
    h = mix(a ^ K1, b ^ h);
    return mix(h ^ K0, K1);
}

/* Four bits of one 64-bit word. */
static inline u64 bloom_bits(u64 hash) {
    return 1ULL << (hash & 63) | 1ULL << (hash >> 6 & 63) | 1ULL << (hash >> 12 & 63) | 1ULL << (hash >> 18 & 63);
}

static inline u32 lite_place(const u8 *p, size_t n) {
    u32 first = n >= 4 ? load4(p) | 0x20202020u
                       : (u32)((p[0] | 0x20) | (n > 1 ? (p[1] | 0x20) << 8 : 0) | (n > 2 ? (p[2] | 0x20) << 16 : 0));
    return ((first ^ (u32)n * 0x9E3779B1u) * 0x85EBCA6Bu) >> 16;
}

static inline u32 gram_place(u64 text, unsigned length, unsigned bits) {
    return (u32)((text * 0x9E3779B97F4A7C15ULL + length * K1) * 0xD6E8FEB86659FD93ULL >> (64 - bits));
}

static inline u64 gram_text(const u8 *p, unsigned length) {
    switch (length) {
    case 8: return load8(p) | FOLD;
    case 6: return (u64)(load4(p) | (u32)FOLD) | (load2(p + 4) | 0x2020) << 32;
    case 4: return load4(p) | (u32)FOLD;
    default: return (load2(p) | 0x2020) | (u64)(p[2] | 0x20) << 16;
    }
}

/* ---------------------------------------------------------------- characters */

static inline int is_hex(u8 c) {
    u8 l = c | 0x20;
    return (c >= '0' && c <= '9') || (l >= 'a' && l <= 'f');
}
static inline int hex_value(u8 c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; }
static inline int is_digit(u8 c) { return c >= '0' && c <= '9'; }
static inline int is_letter(u8 c) { u8 l = c | 0x20; return l >= 'a' && l <= 'z'; }
/* What a run holds, gathered in one pass over its bytes. */
enum { DOT = 1, COLON = 2, HYPHEN = 4, HIGH = 8 };

static const u8 KINDS[256] = {
    ['.'] = DOT, [':'] = COLON, ['-'] = HYPHEN,
#define H8(n) [n] = HIGH, [n + 1] = HIGH, [n + 2] = HIGH, [n + 3] = HIGH, [n + 4] = HIGH, [n + 5] = HIGH, [n + 6] = HIGH, [n + 7] = HIGH
    H8(128), H8(136), H8(144), H8(152), H8(160), H8(168), H8(176), H8(184),
    H8(192), H8(200), H8(208), H8(216), H8(224), H8(232), H8(240), H8(248),
#undef H8
};

static inline unsigned kinds_of(const u8 *p, size_t n) {
    unsigned found = 0;
    for (size_t i = 0; i < n; i++) found |= KINDS[p[i]];
    return found;
}

/* Of a token; bytes from 0x80 on apart. */
static inline int is_word(u8 c) {
    return is_letter(c) || (c >= '0' && c <= ':') || c == '-' || c == '.' || c == '_';
}

/* ---------------------------------------------------------------- meeting the index */

static inline void emit(Walk *w, u64 position, u32 payload) {
    if (w->count < w->capacity) {
        w->out[2 * w->count] = w->nested ? w->fixed : position;
        w->out[2 * w->count + 1] = payload;
        w->count++;
    } else {
        u64 at = w->nested ? w->fixed : position; /* what waits in the ring may be of a line before */
        if (!w->lost || at < w->lost_at) w->lost_at = at;
        w->lost = 1;
    }
}

static void look_up(Walk *w, Waiting *one) {
    const Index *x = w->index;
    u64 word = load8(x->bloom + 8 * below(one->hash, x->bloom_words)), bits = bloom_bits(one->hash);
    if ((word & bits) != bits) return;
    u64 place = below(one->hash, x->slot_count);
    u32 mark = (u32)one->hash;
    for (u64 tries = 0; tries < x->slot_count; tries++) {
        u64 slot = load8(x->slots + 8 * place);
        if (slot == 0) return;
        if ((u32)(slot >> 32) == mark) emit(w, one->position, (u32)slot);
        if (++place == x->slot_count) place = 0;
    }
}

static void drain(Walk *w) {
    while (w->waiting) {
        look_up(w, &w->ring[(w->head - w->waiting) % RING]);
        w->waiting--;
    }
}

/* The word of the filter is asked for now and looked at RING keys later, when it has come. */
static inline void ask(Walk *w, u64 hash, u64 position) {
    const Index *x = w->index;
    if (w->waiting == RING) {
        look_up(w, &w->ring[w->head % RING]);
        w->waiting--;
    }
    __builtin_prefetch(x->bloom + 8 * below(hash, x->bloom_words));
    w->ring[w->head % RING] = (Waiting){hash, position};
    w->head++;
    w->waiting++;
}

static inline void ask_text(Walk *w, const u8 *p, size_t n, u64 tag, u64 position) {
    ask(w, hash_bytes(p, n, FOLD, w->index->seed, tag), position);
}

static u64 net_hash(u64 seed, u64 tag, const u8 *address, size_t size, unsigned length) {
    u8 key[17] = {0};
    memcpy(key, address, size);
    for (size_t i = 0; i < size; i++) {
        int keep = (int)length - 8 * (int)i;
        if (keep <= 0) key[i] = 0;
        else if (keep < 8) key[i] &= (u8)(0xFF << (8 - keep));
    }
    key[size] = (u8)length;
    return hash_bytes(key, size + 1, 0, seed, tag);
}

/* Dotted decimal without leading zeros; 0 where it is none. */
static int ipv4(const u8 *p, size_t n, u8 out[4]) {
    if (n < 7 || n > 15) return 0;
    unsigned part = 0, value = 0, digits = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == n || p[i] == '.') {
            if (!digits || value > 255 || part > 3) return 0;
            out[part++] = (u8)value;
            value = digits = 0;
        } else if (is_digit(p[i])) {
            if ((digits == 1 && value == 0) || digits == 3) return 0;
            value = value * 10 + (p[i] - '0');
            digits++;
        } else {
            return 0;
        }
    }
    return part == 4;
}

static void ask_networks4(Walk *w, const u8 address[4], u64 position) {
    const Index *x = w->index;
    unsigned high = (unsigned)address[0] << 8 | address[1];
    if (!(x->nets[high >> 3] >> (high & 7) & 1)) return;
    for (unsigned length = 0; length <= 32; length++)
        if (x->lens4 >> length & 1) ask(w, net_hash(x->seed, TAG_NET4, address, 4, length), position);
}

/* 16 bytes of a written IPv6 address (RFC 4291, 2.2); 0 where it is none. */
static int ipv6(const u8 *p, size_t n, u8 out[16]) {
    u8 groups[16];
    size_t filled = 0, gap = 17, i = 0;
    if (n < 2 || n > 45) return 0;
    if (p[0] == ':') {
        if (p[1] != ':') return 0;
        gap = 0;
        i = 2;
    }
    while (i < n) {
        size_t start = i;
        unsigned value = 0;
        while (i < n && is_hex(p[i])) {
            value = value << 4 | (unsigned)hex_value(p[i]);
            i++;
        }
        if (i < n && p[i] == '.') {
            if (filled > 12 || !ipv4(p + start, n - start, groups + filled)) return 0;
            filled += 4;
            break;
        }
        if (i == start || i - start > 4 || filled > 14) return 0;
        groups[filled++] = (u8)(value >> 8);
        groups[filled++] = (u8)value;
        if (i == n) break;
        if (p[i] != ':') return 0;
        i++;
        if (i < n && p[i] == ':') {
            if (gap != 17) return 0;
            gap = filled;
            i++;
        } else if (i == n) {
            return 0;
        }
    }
    if (gap == 17) {
        if (filled != 16) return 0;
        memcpy(out, groups, 16);
        return 1;
    }
    if (filled > 14) return 0;
    memset(out, 0, 16);
    memcpy(out, groups, gap);
    memcpy(out + 16 - (filled - gap), groups + gap, filled - gap);
    return 1;
}

static int is_mapped(const u8 a[16]) {
    static const u8 prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    return memcmp(a, prefix, 12) == 0;
}

static size_t write_ipv4(const u8 a[4], u8 *out) {
    size_t n = 0;
    for (int i = 0; i < 4; i++) {
        unsigned v = a[i];
        if (i) out[n++] = '.';
        if (v >= 100) out[n++] = (u8)('0' + v / 100);
        if (v >= 10) out[n++] = (u8)('0' + v / 10 % 10);
        out[n++] = (u8)('0' + v % 10);
    }
    return n;
}

static void ask_ipv6(Walk *w, const u8 *p, size_t n, u64 position) {
    const Index *x = w->index;
    u8 a[16], text[16];
    if (!ipv6(p, n, a)) return;
    if (is_mapped(a)) {
        ask_text(w, text, write_ipv4(a + 12, text), TAG_TEXT, position);
        if (x->flags & HAS_NETS) ask_networks4(w, a + 12, position);
    } else {
        ask(w, hash_bytes(a, 16, 0, x->seed, TAG_V6), position);
        if (x->flags & HAS_NETS)
            for (unsigned length = 0; length <= 128; length++) {
                u64 bit = length < 64    ? x->lens6a >> length & 1
                          : length < 128 ? x->lens6b >> (length - 64) & 1
                                         : x->lens4 >> 63; /* /128 has no bit of its own elsewhere */
                if (bit) ask(w, net_hash(x->seed, TAG_NET6, a, 16, length), position);
            }
    }
    if (x->flags & V6_ODD) emit(w, position, ODD); /* patterns see RFC 5952's spelling, we see another one */
}

/* A run of hex digits, `:` and `.` with two colons at least: every reading that values and mentions know. */
static void ipv6_readings(Walk *w, const u8 *p, size_t n, u64 position) {
    size_t colons = 0, dot = n, doubled = 0;
    while (n && p[n - 1] == '.') n--;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == ':') {
            colons++;
            doubled |= i > 0 && p[i - 1] == ':';
        } else if (p[i] == '.' && dot > i) {
            dot = i;
        }
    }
    if (dot > n) dot = n;
    if (!doubled && colons < 6) return;
    ask_ipv6(w, p, n, position);
    if (dot < n) ask_ipv6(w, p, dot, position);
    if (n && p[n - 1] == ':') ask_ipv6(w, p, n - 1, position);
    if (n > 39) ask_ipv6(w, p, 39, position);
    if (colons >= 8) { /* eight groups and a port */
        size_t last = n;
        while (last && p[last - 1] != ':') last--;
        if (last) ask_ipv6(w, p, last - 1, position);
    }
}

static void grams_of(Walk *w, const u8 *p, size_t n, u64 position) {
    const Index *x = w->index;
    static const unsigned lengths[] = {8, 6, 4, 3};
    for (unsigned k = 0; k < 4; k++) {
        unsigned length = lengths[k];
        if (!(x->gram_lengths >> length & 1) || n < length) continue;
        for (size_t i = 0; i + length <= n; i++) {
            u64 text = gram_text(p + i, length);
            u32 place = gram_place(text, length, x->gram_bits);
            if (x->grams[place >> 3] >> (place & 7) & 1)
                ask(w, hash_bytes(p + i, length, FOLD, x->seed, TAG_GRAM), position + i);
        }
    }
}

/* `5a:93:…` of 16, 20 or 32 pairs is a hash. */
static void colon_hash(Walk *w, const u8 *p, size_t n, u64 position) {
    u8 digits[64];
    if (n != 47 && n != 59 && n != 95) return;
    for (size_t i = 0, d = 0; i < n; i++) {
        if (i % 3 == 2) {
            if (p[i] != ':') return;
        } else {
            if (!is_hex(p[i])) return;
            digits[d++] = p[i];
        }
    }
    ask_text(w, digits, (n + 1) / 3 * 2, TAG_TEXT, position);
    if (w->index->flags & HAS_GRAMS) grams_of(w, digits, (n + 1) / 3 * 2, position);
}

static void whole(Walk *w, const u8 *p, size_t n, int dotted, u64 position) {
    const Index *x = w->index;
    if (n < x->minimum) return;
    if (dotted) {
        ask_text(w, p, n, TAG_TEXT, position);
    } else if (x->flags & HAS_DOTLESS) {
        u32 place = lite_place(p, n);
        if (x->lite[place >> 3] >> (place & 7) & 1) ask_text(w, p, n, TAG_TEXT, position);
    }
    if (x->flags & HAS_BELOW && (dotted || x->flags & HAS_TOP)) {
        size_t last = n;
        int letters = 0;
        while (last && p[last - 1] != '.') {
            last--;
            letters |= !is_digit(p[last]);
        }
        if (!letters) return; /* no name ends in a number */
        size_t start = 0, end = x->flags & HAS_TOP ? n : last;
        for (;;) {
            if (start < end && n - start <= NAME_LIMIT) ask_text(w, p + start, n - start, TAG_BELOW, position + start);
            const u8 *dot = start < n ? memchr(p + start, '.', n - start) : NULL;
            if (!dot) break;
            start = (size_t)(dot - p) + 1;
        }
    }
}

/* An address may stand between hyphens, where no name begins or ends, and before two dots. */
static void between_hyphens(Walk *w, const u8 *p, size_t n, u64 position) {
    size_t start = 0;
    u8 a[4];
    for (size_t i = 0; i <= n; i++) {
        if (i < n && p[i] != '-') continue;
        size_t end = start;
        while (end < i && !(p[end] == '.' && (end + 1 == i || p[end + 1] == '.'))) end++;
        if (end > start && ipv4(p + start, end - start, a)) {
            if (end - start != n) ask_text(w, p + start, end - start, TAG_TEXT, position + start);
            if (w->index->flags & HAS_NETS) ask_networks4(w, a, position + start);
        }
        start = i + 1;
    }
}

/* How many hex digits p[0..n) begins with. */
static inline size_t hex_run(const u8 *p, size_t n) {
    size_t i = 0;
#if defined(__SSE2__) && !defined(INDICIA_SCALAR)
    for (; i + 16 <= n; i += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + i)), l = _mm_or_si128(v, _mm_set1_epi8(0x20));
        __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)), _mm_cmplt_epi8(v, _mm_set1_epi8('9' + 1)));
        __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(l, _mm_set1_epi8('a' - 1)), _mm_cmplt_epi8(l, _mm_set1_epi8('f' + 1)));
        unsigned hex = (unsigned)_mm_movemask_epi8(_mm_or_si128(digit, letter));
        if (hex != 0xFFFF) return i + (unsigned)__builtin_ctz(~hex);
    }
#endif
    while (i < n && is_hex(p[i])) i++;
    return i;
}

/* Hashes stand between dots and hyphens too; what begins as one may go on in other letters (`MD5=…xyz`). */
static void hashes(Walk *w, const u8 *p, size_t n, u64 position) {
    for (size_t i = 0; i < n;) {
        size_t start = i, digits = hex_run(p + i, n - i < 64 ? n - i : 64);
        i += digits;
        if (digits == 32 || digits == 40 || digits == 64) ask_text(w, p + start, digits, TAG_TEXT, position + start);
        while (i < n && p[i] != '.' && p[i] != '-') i++;
        i++;
    }
}

static inline int two_dots(const u8 *p, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (p[i] == '.' && p[i - 1] == '.') return 1;
    return 0;
}

/* A token without colons and without bytes from 0x80 on; `kinds` may name more than it holds. */
static inline void part(Walk *w, const u8 *p, size_t n, unsigned kinds, u64 position) {
    const Index *x = w->index;
    if (n < x->minimum) return;
    if (n >= 32) hashes(w, p, n, position);
    if (!(kinds & DOT) && !(x->flags & EVERY)) return;
    int dotted = kinds & DOT && memchr(p, '.', n) != NULL;
    whole(w, p, n, dotted, position);
    if (dotted && (kinds & HYPHEN || x->flags & HAS_NETS || (is_digit(p[0]) && two_dots(p, n))))
        between_hyphens(w, p, n, position);
    u8 first = p[0], last = p[n - 1];
    if (last == '.' || last == '-' || first == '.' || first == '-') {
        size_t start = 0, end = n;
        while (end && p[end - 1] == '.') end--;
        if (end && end < n) whole(w, p, end, dotted && memchr(p, '.', end) != NULL, position);
        size_t dots = end;
        while (end && (p[end - 1] == '.' || p[end - 1] == '-')) end--;
        while (start < end && (p[start] == '.' || p[start] == '-')) start++;
        if (start < end && (start || end != dots))
            whole(w, p + start, end - start, memchr(p + start, '.', end - start) != NULL, position + start);
    }
    if (x->flags & HAS_GRAMS) grams_of(w, p, n, position);
}

/* A token without bytes from 0x80 on. */
static void token(Walk *w, const u8 *p, size_t n, unsigned kinds, u64 position) {
    if (!(kinds & COLON)) {
        part(w, p, n, kinds, position);
        return;
    }
    size_t start = 0, colons = 0;
    int doubled = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && p[i] != ':') continue;
        colons += i < n;
        doubled |= i == start && i > 0 && i < n;
        if (i > start) part(w, p + start, i - start, kinds, position + start);
        start = i + 1;
    }
    if (!doubled && colons < 6) return; /* no IPv6, and no hash in pairs */
    colon_hash(w, p, n, position);
    for (size_t i = 0; i < n;) { /* runs of what IPv6 is written with */
        size_t begin = i;
        while (i < n && (is_hex(p[i]) || p[i] == ':' || p[i] == '.')) i++;
        if (i - begin >= 2) ipv6_readings(w, p + begin, i - begin, position + begin);
        i += i == begin || i < n;
    }
}

static const u8 *line_end(const u8 *p, const u8 *end) {
    const u8 *found = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
    return found ? found : end;
}

/* Whether bytes from 0x80 on could be read as a dot, or be left out, by UTS 46. */
static int dot_like(const u8 *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '.') return 1;
        if (p[i] == 0xEF || p[i] == 0xE3 || (p[i] == 0xE2 && i + 1 < n && (p[i + 1] == 0x80 || p[i + 1] == 0x92)))
            return 1;
    }
    return 0;
}

static int has_kelvin(const u8 *p, size_t n) { /* U+212A in lower case is `k` */
    for (size_t i = 0; i + 3 <= n; i++)
        if (p[i] == 0xE2 && p[i + 1] == 0x84 && p[i + 2] == 0xAA) return 1;
    return 0;
}

static inline int named_odd(const Walk *w, const u8 *p) { return p >= w->odd_from && p < w->odd_until; }

/* A maximal run; what stands before it may be glued to it by an escape. */
static void run(Walk *w, const u8 *base, const u8 *p, const u8 *e, unsigned kinds, const u8 *limit) {
    size_t n = (size_t)(e - p);
    u64 position = (u64)(p - base);
    u8 before = p > w->first ? p[-1] : 0;
    size_t skip = 0;
    if (before == '\\') {
        if (*p == 'u' && n >= 5 && is_hex(p[1]) && is_hex(p[2]) && is_hex(p[3]) && is_hex(p[4])) skip = 5;
        else if (*p == 'x' && n >= 3 && is_hex(p[1]) && is_hex(p[2])) skip = 3;
        else if (*p == 'n' || *p == 'r' || *p == 't' || *p == 'b' || *p == 'f') skip = 1;
    } else if (before == '%' && n >= 2 && is_hex(p[0]) && is_hex(p[1])) {
        skip = 2;
    }
    if (kinds & HIGH) {
        if (!named_odd(w, p) && (w->all_odd || w->index->flags & ODD_ANY || dot_like(p, n) || has_kelvin(p, n))) {
            emit(w, position, ODD);
            w->odd_from = p;
            w->odd_until = line_end(e, limit);
        }
        while (p < e) {
            const u8 *start = p;
            while (p < e && *p < 0x80) p++;
            if (p > start) {
                token(w, start, (size_t)(p - start), kinds, (u64)(start - base));
                if (skip && start + skip < p) token(w, start + skip, (size_t)(p - start) - skip, kinds, (u64)(start - base));
            }
            skip = 0;
            while (p < e && *p >= 0x80) p++;
        }
        return;
    }
    token(w, p, n, kinds, position);
    if (skip && skip < n) token(w, p + skip, n - skip, kinds, position + skip);
}

/* ---------------------------------------------------------------- other spellings */

/* Whether a decoded character can change what tokens there are, or hide another escape. */
static inline int matters(u32 c) {
    return c >= 0x80 || is_word((u8)c) || c == '%' || c == '\\' || c == '&';
}

static inline u32 hex4(const u8 *p) {
    return (u32)(hex_value(p[0]) << 12 | hex_value(p[1]) << 8 | hex_value(p[2]) << 4 | hex_value(p[3]));
}

static inline int is_hex4(const u8 *p, const u8 *end) {
    return end - p >= 4 && is_hex(p[0]) && is_hex(p[1]) && is_hex(p[2]) && is_hex(p[3]);
}

/* What an escape at p (`\`, `%`) hides: 1 it matters, 0 it does not. `\xHH` is one in Zeek's logs alone, where
 * `hex` is set: elsewhere it is the beginning of a name in a folder. */
static int hides(const u8 *p, const u8 *end, int hex) {
    if (end - p < 3) return 0;
    if (*p == '%') { /* undone once, so what it hides is no other escape */
        u8 c = is_hex(p[1]) && is_hex(p[2]) ? (u8)(hex_value(p[1]) << 4 | hex_value(p[2])) : 0;
        return c >= 0x80 || is_word(c);
    }
    if (p[1] == 'u' && is_hex4(p + 2, end)) return matters(hex4(p + 2));
    if (hex && p[1] == 'x' && end - p >= 4 && is_hex(p[2]) && is_hex(p[3]))
        return matters((u32)(hex_value(p[2]) << 4 | hex_value(p[3])));
    return 0;
}

/* `&` that may be an entity other than the five which stand for separators. */
static int odd_entity(const u8 *p, const u8 *end) {
    static const char *const plain[] = {"amp;", "lt;", "gt;", "quot;", "apos;"};
    if (end - p < 2 || !(p[1] == '#' || is_letter(p[1]))) return 0;
    for (unsigned i = 0; i < 5; i++) {
        size_t n = strlen(plain[i]);
        if ((size_t)(end - p) > n && memcmp(p + 1, plain[i], n) == 0) return 0;
    }
    return 1;
}

/* An element's end, `<Data`, or a `<` in another spelling. */
static int may_be_markup(const u8 *p, const u8 *end) {
    for (; end - p >= 2; p++)
        if ((p[0] == '<' && (p[1] == '/' || p[1] == 'D' || p[1] == '\\')) || (p[0] == '3' && (p[1] | 0x20) == 'c'))
            return 1;
    return 0;
}

static size_t put_utf8(u8 *out, u32 c) {
    if (c < 0x80) { out[0] = (u8)c; return 1; }
    if (c < 0x800) { out[0] = (u8)(0xC0 | c >> 6); out[1] = (u8)(0x80 | (c & 63)); return 2; }
    if (c < 0x10000) {
        out[0] = (u8)(0xE0 | c >> 12); out[1] = (u8)(0x80 | (c >> 6 & 63)); out[2] = (u8)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (u8)(0xF0 | c >> 18); out[1] = (u8)(0x80 | (c >> 12 & 63));
    out[2] = (u8)(0x80 | (c >> 6 & 63)); out[3] = (u8)(0x80 | (c & 63));
    return 4;
}

/* One level of JSON (and of Zeek's TSV) undone; never longer than what came in. */
static size_t undo_backslashes(const u8 *p, const u8 *end, u8 *out) {
    u8 *o = out;
    while (p < end) {
        if (*p != '\\' || end - p < 2) { *o++ = *p++; continue; }
        u8 c = p[1];
        if (c == 'u' && is_hex4(p + 2, end)) {
            u32 code = hex4(p + 2);
            p += 6;
            if (code >= 0xD800 && code < 0xDC00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u' && is_hex4(p + 2, end)) {
                u32 low = hex4(p + 2);
                if (low >= 0xDC00 && low < 0xE000) {
                    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    p += 6;
                }
            }
            if (code >= 0xD800 && code < 0xE000) code = 0xFFFD;
            if (code == '\n') code = ' '; /* a line stays a line */
            o += put_utf8(o, code);
        } else if (c == 'x' && end - p >= 4 && is_hex(p[2]) && is_hex(p[3])) {
            u8 byte = (u8)(hex_value(p[2]) << 4 | hex_value(p[3]));
            *o++ = byte == '\n' ? ' ' : byte;
            p += 4;
        } else {
            *o++ = c == 'n' || c == 'r' || c == 't' || c == 'b' || c == 'f' ? ' ' : c;
            p += 2;
        }
    }
    return (size_t)(o - out);
}

static size_t undo_percent(const u8 *p, const u8 *end, u8 *out) {
    u8 *o = out;
    while (p < end) {
        if (*p == '%' && end - p >= 3 && is_hex(p[1]) && is_hex(p[2])) {
            u8 byte = (u8)(hex_value(p[1]) << 4 | hex_value(p[2]));
            *o++ = byte == '\n' ? ' ' : byte;
            p += 3;
        } else {
            *o++ = *p++;
        }
    }
    return (size_t)(o - out);
}

static u64 walk(Walk *w, const u8 *base, const u8 *p, const u8 *end);

static void walk_decoded(Walk *w, const u8 *p, size_t n, u64 position) {
    const u8 *from = w->odd_from, *until = w->odd_until, *first = w->first, *readable = w->readable;
    drain(w);
    w->nested = 1;
    w->fixed = position;
    w->odd_from = w->odd_until = w->first = p;
    w->readable = p + n;
    walk(w, p, p, p + n);
    drain(w);
    w->nested = 0;
    w->odd_from = from;
    w->odd_until = until;
    w->first = first;
    w->readable = readable;
}

static int any_hides(const u8 *p, const u8 *end, u8 sign, int hex) {
    while (p < end && (p = memchr(p, sign, (size_t)(end - p)))) {
        if (hides(p, end, hex)) return 1;
        p++;
    }
    return 0;
}

static int any_odd_entity(const u8 *p, const u8 *end) {
    const u8 *start = p;
    while (p < end && (p = memchr(p, '&', (size_t)(end - p)))) {
        if (odd_entity(p, end)) return may_be_markup(start, end);
        p++;
    }
    return 0;
}

/* The line around an escape that matters: all of its readings, three levels of strings in strings deep. */
static void decode_line(Walk *w, const u8 *base, const u8 *at, const u8 *limit) {
    const u8 *start = at, *end = line_end(at, limit);
    while (start > w->first && start[-1] != '\n') start--;
    size_t n = (size_t)(end - start);
    w->decoded_until = end;
    if (w->scratch_size < 3 * n) {
        emit(w, (u64)(at - base), ODD);
        return;
    }
    u8 *one = w->scratch, *two = one + n, *plain = two + n;
    const u8 *text = start;
    u64 position = (u64)(at - base);
    for (int level = 0;; level++) {
        if (any_hides(text, text + n, '%', 0)) walk_decoded(w, plain, undo_percent(text, text + n, plain), position);
        if (level == 3 || !any_hides(text, text + n, '\\', w->all_odd)) break;
        u8 *next = text == one ? two : one;
        n = undo_backslashes(text, text + n, next);
        text = next;
        if (any_odd_entity(text, text + n)) { emit(w, position, ODD); break; }
        walk_decoded(w, text, n, position);
    }
}

static void escape(Walk *w, const u8 *base, const u8 *at, const u8 *limit) {
    if (*at == '&') {
        if (at < w->plain_until || named_odd(w, at) || !odd_entity(at, limit)) return;
        const u8 *start = at, *end = line_end(at, limit);
        while (start > w->first && start[-1] != '\n') start--;
        if (may_be_markup(start, end)) {
            emit(w, (u64)(at - base), ODD);
            w->odd_from = start;
            w->odd_until = end;
        } else {
            w->plain_until = end;
        }
    } else if (at >= w->decoded_until && hides(at, limit, w->all_odd)) {
        decode_line(w, base, at, limit);
    }
}

/* ---------------------------------------------------------------- the walk */

/* Of 64 bytes, a bit each: of a token (words), dot or colon or from 0x80 on (marks), `\` `%` `&` (escapes). */
static inline void classify(const u8 *p, u64 *words, u64 *marks, u64 *escapes) {
#if defined(__SSE2__) && !defined(INDICIA_SCALAR)
    u64 W = 0, M = 0, E = 0;
    const __m128i bit5 = _mm_set1_epi8(0x20);
    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_loadu_si128((const __m128i *)(p + 16 * i));
        __m128i l = _mm_or_si128(v, bit5);
        __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(l, _mm_set1_epi8('a' - 1)), _mm_cmplt_epi8(l, _mm_set1_epi8('z' + 1)));
        __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8('0' - 1)), _mm_cmplt_epi8(v, _mm_set1_epi8(':' + 1)));
        __m128i dot = _mm_cmpeq_epi8(v, _mm_set1_epi8('.'));
        __m128i colon = _mm_cmpeq_epi8(v, _mm_set1_epi8(':'));
        __m128i other = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('-')), _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
        __m128i word = _mm_or_si128(_mm_or_si128(letter, digit), _mm_or_si128(dot, other));
        __m128i sign = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')), _mm_cmpeq_epi8(v, _mm_set1_epi8('%'))),
                                    _mm_cmpeq_epi8(v, _mm_set1_epi8('&')));
        W |= (u64)(u32)_mm_movemask_epi8(_mm_or_si128(word, v)) << 16 * i;
        M |= (u64)(u32)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(dot, colon), v)) << 16 * i;
        E |= (u64)(u32)_mm_movemask_epi8(sign) << 16 * i;
    }
    *words = W; *marks = M; *escapes = E;
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(INDICIA_SCALAR)
    static const u8 weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const uint8x16_t weight = vld1q_u8(weights);
    u64 W = 0, M = 0, E = 0;
    for (int i = 0; i < 4; i++) {
        uint8x16_t v = vld1q_u8(p + 16 * i), l = vorrq_u8(v, vdupq_n_u8(0x20));
        uint8x16_t high = vcgeq_u8(v, vdupq_n_u8(0x80));
        uint8x16_t letter = vandq_u8(vcgeq_u8(l, vdupq_n_u8('a')), vcleq_u8(l, vdupq_n_u8('z')));
        uint8x16_t digit = vandq_u8(vcgeq_u8(v, vdupq_n_u8('0')), vcleq_u8(v, vdupq_n_u8(':')));
        uint8x16_t dot = vceqq_u8(v, vdupq_n_u8('.')), colon = vceqq_u8(v, vdupq_n_u8(':'));
        uint8x16_t other = vorrq_u8(vceqq_u8(v, vdupq_n_u8('-')), vceqq_u8(v, vdupq_n_u8('_')));
        uint8x16_t word = vorrq_u8(vorrq_u8(vorrq_u8(letter, digit), vorrq_u8(dot, other)), high);
        uint8x16_t mark = vorrq_u8(vorrq_u8(dot, colon), high);
        uint8x16_t sign = vorrq_u8(vorrq_u8(vceqq_u8(v, vdupq_n_u8('\\')), vceqq_u8(v, vdupq_n_u8('%'))),
                                   vceqq_u8(v, vdupq_n_u8('&')));
#define BITS(x) ((u64)vaddv_u8(vget_low_u8(vandq_u8(x, weight))) | (u64)vaddv_u8(vget_high_u8(vandq_u8(x, weight))) << 8)
        W |= BITS(word) << 16 * i; M |= BITS(mark) << 16 * i; E |= BITS(sign) << 16 * i;
#undef BITS
    }
    *words = W; *marks = M; *escapes = E;
#else
    u64 W = 0, M = 0, E = 0;
    for (int i = 0; i < 64; i++) {
        u8 c = p[i];
        u64 bit = 1ULL << i;
        if (c >= 0x80 || is_word(c)) W |= bit;
        if (c >= 0x80 || c == '.' || c == ':') M |= bit;
        if (c == '\\' || c == '%' || c == '&') E |= bit;
    }
    *words = W; *marks = M; *escapes = E;
#endif
}

static inline void end_run(Walk *w, const u8 *base, const u8 *p, const u8 *e, int marked, int every, const u8 *end) {
    size_t n = (size_t)(e - p);
    if (n < w->index->minimum || (!marked && !every && n < 32)) return;
    run(w, base, p, e, marked ? kinds_of(p, n) : 0, end);
}

/* Control characters other than TAB, LF and CR, of 64 bytes at the most: Zeek's JSON writes them as text (`\\x0b`),
 * so they may hide one. */
static void name_controls(Walk *w, const u8 *base, const u8 *p, size_t n) {
    u64 found = 0;
    for (size_t i = 0; i < n && i < 64; i++)
        found |= (u64)((p[i] < 32 && p[i] != 9 && p[i] != 10 && p[i] != 13) || p[i] == 127) << i;
    for (; found; found &= found - 1) emit(w, (u64)(p + __builtin_ctzll(found) - base), ODD);
}

/* Walks [p, end); gives the offset from base up to which it came: less than the end where the candidates do not
 * fit any more; then the line there is to be walked again from its beginning. What waits in the ring is the
 * caller's to drain. */
static u64 walk(Walk *w, const u8 *base, const u8 *p, const u8 *end) {
    const int every = (w->index->flags & EVERY) != 0;
    const u8 *open = NULL; /* the run that reaches into this block from the one before */
    int open_marked = 0;
    u8 last[64];
    while (p < end) {
        u64 words, marks, escapes;
        size_t n = (size_t)(end - p);
        if (n >= 64) {
            classify(p, &words, &marks, &escapes);
        } else if (w->readable - p >= 64) {
            u64 mine = (1ULL << n) - 1;
            classify(p, &words, &marks, &escapes);
            words &= mine; marks &= mine; escapes &= mine;
        } else {
            memset(last, 0, 64);
            memcpy(last, p, n);
            classify(last, &words, &marks, &escapes);
        }
        if (w->all_odd && !w->nested) name_controls(w, base, p, n);
        if (!w->nested)
            for (u64 e = escapes; e; e &= e - 1) escape(w, base, p + __builtin_ctzll(e), end);
        /* Runs that count hold a mark, or are 32 long: then they lie over the middle, or reach into the next block. */
        u64 rest = every ? words : words & (marks | 3ULL << 31);
        if (open) {
            if (words == ~0ULL) {
                open_marked |= marks != 0;
                p += 64;
                continue;
            }
            unsigned length = (unsigned)__builtin_ctzll(~words);
            u64 mine = length ? ~0ULL >> (64 - length) : 0;
            end_run(w, base, open, p + length, open_marked || (marks & mine), every, end);
            rest &= ~mine;
            open = NULL;
        }
        while (rest) {
            unsigned at = (unsigned)__builtin_ctzll(rest);
            u64 before = ~words & ((1ULL << at) - 1), gaps = ~words >> at << at;
            unsigned from = before ? 64 - (unsigned)__builtin_clzll(before) : 0;
            if (!gaps) break;
            unsigned to = (unsigned)__builtin_ctzll(gaps);
            u64 mine = (~0ULL >> (64 - (to - from))) << from;
            end_run(w, base, p + from, p + to, (marks & mine) != 0, every, end);
            rest &= ~0ULL << to;
        }
        if (words >> 63) {
            unsigned from = ~words ? 64 - (unsigned)__builtin_clzll(~words) : 0;
            open = p + from;
            open_marked = marks >> from != 0;
        }
        p += n < 64 ? n : 64;
        if (!w->nested && w->count + SLACK > w->capacity && p < end) break;
    }
    if (open && p >= end) end_run(w, base, open, end, open_marked, every, end);
    return (u64)(p - base);
}

/* ---------------------------------------------------------------- Python */

static int section(u64 offset, u64 size, u64 total) { return offset <= total && size <= total - offset; }

/* The layout against the buffer; every later read of the index stays inside what is checked here. */
static int open_layout(const u8 *layout, size_t layout_size, const u8 *data, u64 total, Index *x) {
    u64 v[L_COUNT];
    if (layout_size != sizeof v) return 0;
    memcpy(v, layout, sizeof v);
    x->seed = v[L_SEED]; x->flags = v[L_FLAGS]; x->minimum = v[L_MINIMUM] ? v[L_MINIMUM] : 1;
    x->bloom_words = v[L_BLOOM_WORDS]; x->slot_count = v[L_SLOT_COUNT];
    x->lens4 = v[L_LENS4]; x->lens6a = v[L_LENS6A]; x->lens6b = v[L_LENS6B];
    x->gram_bits = (u32)v[L_GRAM_BITS]; x->gram_lengths = (u32)v[L_GRAM_LENGTHS];
    if (!x->bloom_words || !x->slot_count || x->bloom_words > total / 8 || x->slot_count > total / 8) return 0;
    if (!section(v[L_BLOOM], 8 * x->bloom_words, total) || !section(v[L_SLOTS], 8 * x->slot_count, total)) return 0;
    if (!section(v[L_LITE], LITE_BYTES, total) || !section(v[L_NETS], NETS_BYTES, total)) return 0;
    if (x->flags & HAS_GRAMS) {
        if (v[L_GRAM_BITS] < 3 || v[L_GRAM_BITS] > 32) return 0;
        if (!section(v[L_GRAMS], 1ULL << (x->gram_bits - 3), total)) return 0;
    }
    x->bloom = data + v[L_BLOOM]; x->slots = data + v[L_SLOTS]; x->lite = data + v[L_LITE];
    x->nets = data + v[L_NETS]; x->grams = x->flags & HAS_GRAMS ? data + v[L_GRAMS] : NULL;
    return 1;
}

static void begin(Walk *w, const Index *x, Py_buffer *out, Py_buffer *scratch, int all_odd, const u8 *data) {
    memset(w, 0, sizeof *w);
    w->index = x;
    w->out = out->buf;
    w->capacity = (size_t)out->len / 16;
    w->scratch = scratch->buf;
    w->scratch_size = (size_t)scratch->len;
    w->all_odd = all_odd;
    w->decoded_until = w->odd_from = w->odd_until = w->plain_until = w->first = data;
}

static PyObject *scan(PyObject *self, PyObject *args) {
    Py_buffer index, layout, data, out, scratch;
    Py_ssize_t start, end;
    int all_odd;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*nnw*w*p", &index, &layout, &data, &start, &end, &out, &scratch, &all_odd))
        return NULL;
    Index x;
    Walk w;
    u64 reached = 0;
    PyObject *result = NULL;
    if (start < 0 || end < start || end > data.len) {
        PyErr_SetString(PyExc_ValueError, "start and end must lie within the data");
    } else if ((uintptr_t)out.buf % 8 || out.len / 16 < 2 * SLACK) {
        PyErr_Format(PyExc_ValueError, "out must be aligned to 8 bytes and hold %d pairs at least", 2 * SLACK);
    } else if (!open_layout(layout.buf, (size_t)layout.len, index.buf, (u64)index.len, &x)) {
        PyErr_SetString(PyExc_ValueError, "the layout does not fit the index");
    } else {
        Py_BEGIN_ALLOW_THREADS
        const u8 *base = data.buf;
        begin(&w, &x, &out, &scratch, all_odd, base + start);
        w.readable = base + data.len;
        reached = walk(&w, base + start, base + start, base + end);
        drain(&w);
        reached = (w.lost ? w.lost_at : reached) + (u64)start;
        for (size_t i = 0; i < w.count; i++) w.out[2 * i] += (u64)start;
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("(nn)", (Py_ssize_t)w.count, (Py_ssize_t)reached);
    }
    PyBuffer_Release(&index); PyBuffer_Release(&layout); PyBuffer_Release(&data);
    PyBuffer_Release(&out); PyBuffer_Release(&scratch);
    return result;
}

static inline u64 offset_at(const u8 *offsets, int width, Py_ssize_t n) {
    return width == 4 ? load4(offsets + 4 * n) : load8(offsets + 8 * n);
}

/* Of values that begin at the offsets, the last one that begins at a position or before it. */
static Py_ssize_t value_at(const u8 *offsets, int width, Py_ssize_t count, u64 position) {
    Py_ssize_t low = 0, high = count;
    while (high - low > 1) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (offset_at(offsets, width, middle) <= position) low = middle;
        else high = middle;
    }
    return low;
}

/* Values behind one another, as Arrow keeps them: each is walked by itself, a position is a row. */
static PyObject *scan_values(PyObject *self, PyObject *args) {
    Py_buffer index, layout, data, offsets, out, scratch;
    Py_ssize_t first, count;
    int width, all_odd;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*y*y*y*innw*w*p", &index, &layout, &data, &offsets, &width, &first, &count, &out,
                          &scratch, &all_odd))
        return NULL;
    Index x;
    Walk w;
    PyObject *result = NULL;
    Py_ssize_t done = 0;
    int inside = 1;
    if ((width != 4 && width != 8) || first < 0 || count < 0 || first > offsets.len / width - 1 ||
        count > offsets.len / width - 1 - first) {
        PyErr_SetString(PyExc_ValueError, "offsets must be 4 or 8 bytes wide and one more than the values");
    } else if ((uintptr_t)out.buf % 8 || out.len / 16 < 2 * SLACK) {
        PyErr_Format(PyExc_ValueError, "out must be aligned to 8 bytes and hold %d pairs at least", 2 * SLACK);
    } else if (!open_layout(layout.buf, (size_t)layout.len, index.buf, (u64)index.len, &x)) {
        PyErr_SetString(PyExc_ValueError, "the layout does not fit the index");
    } else {
        Py_BEGIN_ALLOW_THREADS
        const u8 *base = data.buf, *at = offsets.buf;
        begin(&w, &x, &out, &scratch, all_odd, base);
        w.readable = base + data.len;
        for (; done < count && w.count + SLACK <= w.capacity; done++) {
            u64 from = offset_at(at, width, first + done), to = offset_at(at, width, first + done + 1);
            if (from > to || to > (u64)data.len) { inside = 0; break; }
            w.decoded_until = w.odd_from = w.odd_until = w.plain_until = w.first = base + from;
            if (walk(&w, base, base + from, base + to) < to) emit(&w, from, ODD); /* it was too much: named unseen */
        }
        drain(&w); /* only now: a key may wait while other values are walked */
        for (size_t i = 0; i < w.count; i++)
            w.out[2 * i] = (u64)value_at(at + (size_t)width * (size_t)first, width, done, w.out[2 * i]);
        if (w.lost) { /* what comes behind the first value that lost one is walked again; it itself is named */
            u64 row = (u64)value_at(at + (size_t)width * (size_t)first, width, done, w.lost_at);
            size_t kept = 0;
            for (size_t i = 0; i < w.count; i++) {
                if (w.out[2 * i] > row) continue;
                w.out[2 * kept] = w.out[2 * i];
                w.out[2 * kept + 1] = w.out[2 * i + 1];
                kept++;
            }
            w.count = kept < w.capacity ? kept + 1 : kept; /* where nothing fell out, the value filled it alone */
            w.out[2 * w.count - 2] = row;
            w.out[2 * w.count - 1] = ODD;
            done = (Py_ssize_t)row + 1;
        }
        Py_END_ALLOW_THREADS
        if (inside) result = Py_BuildValue("(nn)", (Py_ssize_t)w.count, done);
        else PyErr_SetString(PyExc_ValueError, "an offset lies outside the data");
    }
    PyBuffer_Release(&index); PyBuffer_Release(&layout); PyBuffer_Release(&data); PyBuffer_Release(&offsets);
    PyBuffer_Release(&out); PyBuffer_Release(&scratch);
    return result;
}

static PyObject *count_lines(PyObject *self, PyObject *args) {
    Py_buffer data;
    Py_ssize_t start, end, found = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nn", &data, &start, &end)) return NULL;
    if (start < 0 || end < start || end > data.len) {
        PyBuffer_Release(&data);
        PyErr_SetString(PyExc_ValueError, "start and end must lie within the data");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    const u8 *p = (const u8 *)data.buf + start, *e = (const u8 *)data.buf + end;
#if defined(__SSE2__) && !defined(INDICIA_SCALAR)
    const __m128i line = _mm_set1_epi8('\n');
    while (e - p >= 16) {
        __m128i sum = _mm_setzero_si128();
        for (int i = 0; i < 255 && e - p >= 16; i++, p += 16)
            sum = _mm_sub_epi8(sum, _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)p), line));
        sum = _mm_sad_epu8(sum, _mm_setzero_si128());
        found += _mm_cvtsi128_si64(sum) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sum, sum));
    }
#endif
    while (p < e) found += *p++ == '\n';
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&data);
    return PyLong_FromSsize_t(found);
}

/* ---------------------------------------------------------------- building */

static PyObject *hash_of(PyObject *self, PyObject *args) {
    Py_buffer key;
    unsigned long long seed;
    int tag;
    (void)self;
    if (!PyArg_ParseTuple(args, "Kiy*", &seed, &tag, &key)) return NULL;
    u64 hash = hash_bytes(key.buf, (size_t)key.len, tag == TAG_TEXT || tag == TAG_BELOW || tag == TAG_GRAM ? FOLD : 0, seed,
                          (u64)tag);
    PyBuffer_Release(&key);
    return PyLong_FromUnsignedLongLong(hash);
}

static PyObject *net_of(PyObject *self, PyObject *args) {
    Py_buffer address;
    unsigned long long seed;
    int length;
    (void)self;
    if (!PyArg_ParseTuple(args, "Ky*i", &seed, &address, &length)) return NULL;
    PyObject *result = NULL;
    if ((address.len != 4 && address.len != 16) || length < 0 || length > 8 * address.len)
        PyErr_SetString(PyExc_ValueError, "an address has 4 or 16 bytes");
    else
        result = PyLong_FromUnsignedLongLong(net_hash(seed, address.len == 4 ? TAG_NET4 : TAG_NET6, address.buf,
                                                      (size_t)address.len, (unsigned)length));
    PyBuffer_Release(&address);
    return result;
}

/* The types whose canonical text is its own key, by the numbers of index.py. */
enum { TYPE_SHA1, TYPE_SHA256, TYPE_MD5, TYPE_IP, TYPE_DOMAIN, TYPE_URL, TYPE_FILE };
enum { EQUALS, START_WITH, END_WITH, CONTAINS, SUBDOMAIN_OF };

static size_t put_varint(u8 *out, u64 v) {
    size_t n = 0;
    while (v >= 0x80) { out[n++] = (u8)(v | 0x80); v >>= 7; }
    out[n++] = (u8)v;
    return n;
}

/* records(seed, types, functions, definitions, ids, sources, texts, tails, tail_ends)
 *   -> (size of the blob, hashes, offsets); with a blob to write into as the last argument.
 * texts: canonical texts, each ended by a line feed; tails: what follows them, by end offsets. A hash of 0 says
 * that the key is for index.py to choose. */
static PyObject *records(PyObject *self, PyObject *args) {
    unsigned long long seed;
    Py_buffer types, functions, definitions, ids, sources, texts, tails, ends, hashes, offsets, blob;
    (void)self;
    if (!PyArg_ParseTuple(args, "Ky*y*y*y*y*y*y*y*w*w*w*", &seed, &types, &functions, &definitions, &ids, &sources, &texts,
                          &tails, &ends, &hashes, &offsets, &blob))
        return NULL;
    Py_ssize_t n = types.len;
    const char *wrong = NULL;
    size_t at = 1; /* no record stands at 0, so that no slot is 0 */
    if (functions.len != n || definitions.len != 4 * n || ids.len != 8 * n || sources.len != 4 * n ||
        hashes.len != 8 * n || offsets.len != 4 * n || (ends.len && ends.len != 4 * n)) {
        wrong = "columns of different lengths";
    } else {
        Py_BEGIN_ALLOW_THREADS
        const u8 *text = texts.buf, *stop = text + texts.len, *tail = tails.buf;
        u8 *out = blob.buf;
        u32 tail_at = 0;
        for (Py_ssize_t i = 0; i < n; i++) {
            const u8 *line = text < stop ? memchr(text, '\n', (size_t)(stop - text)) : NULL;
            u8 type = ((const u8 *)types.buf)[i], function = ((const u8 *)functions.buf)[i];
            u32 tail_end = ends.len ? load4((const u8 *)ends.buf + 4 * i) : 0;
            if (!line || type > TYPE_FILE || function > SUBDOMAIN_OF) { wrong = "fewer texts than types, or an unknown type"; break; }
            size_t length = (size_t)(line - text);
            if (tail_end < tail_at || tail_end > (u64)tails.len) { wrong = "tail ends out of order"; break; }
            size_t tail_length = tail_end - tail_at;
            if (at + 48 + length + tail_length > (u64)blob.len || at > 0x7FFFFF00u) { wrong = "the blob is too small"; break; }
            u32 definition = load4((const u8 *)definitions.buf + 4 * i), source = load4((const u8 *)sources.buf + 4 * i);
            u64 id = load8((const u8 *)ids.buf + 8 * i);
            int is_hash = type <= TYPE_MD5 && function == EQUALS;
            u8 v4[4];
            int is_v4 = type == TYPE_IP && function == EQUALS && ipv4(text, length, v4);
            memcpy((u8 *)offsets.buf + 4 * i, &(u32){(u32)at}, 4);
            out[at++] = (u8)(type | function << 3 | (tail_length ? 0x40 : 0) | (is_v4 ? 0x80 : 0));
            at += put_varint(out + at, definition);
            at += put_varint(out + at, id);
            at += put_varint(out + at, source);
            if (is_hash) {
                size_t wanted = type == TYPE_MD5 ? 32 : type == TYPE_SHA1 ? 40 : 64;
                if (length != wanted) { wrong = "a hash of the wrong length"; break; }
                for (size_t k = 0; k < length; k += 2) {
                    if (!is_hex(text[k]) || !is_hex(text[k + 1])) { wrong = "a hash that is not hexadecimal"; break; }
                    out[at++] = (u8)(hex_value(text[k]) << 4 | hex_value(text[k + 1]));
                }
                if (wrong) break;
            } else if (is_v4) { /* its canonical text is the only one, so four bytes say it */
                memcpy(out + at, v4, 4);
                at += 4;
            } else {
                at += put_varint(out + at, length);
                memcpy(out + at, text, length);
                at += length;
            }
            if (tail_length) {
                memcpy(out + at, tail + tail_at, tail_length);
                at += tail_length;
                tail_at = tail_end;
            }
            u64 hash = 0;
            if (type == TYPE_DOMAIN) { /* a name that is short or of one label makes the walk look at more */
                if (length >= 4 && memchr(text, '.', length) && (function == EQUALS || function == SUBDOMAIN_OF))
                    hash = hash_bytes(text, length, FOLD, seed, function == EQUALS ? TAG_TEXT : TAG_BELOW);
            } else if (is_hash) hash = hash_bytes(text, length, FOLD, seed, TAG_TEXT);
            else if (type == TYPE_IP && function == EQUALS && !memchr(text, '/', length)) {
                u8 a[16];
                if (memchr(text, ':', length)) hash = ipv6(text, length, a) ? hash_bytes(a, 16, 0, seed, TAG_V6) : 0;
                else hash = hash_bytes(text, length, FOLD, seed, TAG_TEXT);
            }
            store8((u8 *)hashes.buf + 8 * i, hash);
            text = line + 1;
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&types); PyBuffer_Release(&functions); PyBuffer_Release(&definitions); PyBuffer_Release(&ids);
    PyBuffer_Release(&sources); PyBuffer_Release(&texts); PyBuffer_Release(&tails); PyBuffer_Release(&ends);
    PyBuffer_Release(&hashes); PyBuffer_Release(&offsets); PyBuffer_Release(&blob);
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, wrong);
        return NULL;
    }
    return PyLong_FromSize_t(at);
}

/* The rarest gram of each piece: its hash into `hashes`, its bit into the bitmap, its length into a mask. Two passes:
 * the first counts how often each gram occurs, so that a shared ending is no key where there is another. */
static PyObject *grams(PyObject *self, PyObject *args) {
    unsigned long long seed;
    int bits;
    Py_buffer pieces, hashes, bitmap, counts;
    (void)self;
    if (!PyArg_ParseTuple(args, "Kiy*w*w*w*", &seed, &bits, &pieces, &hashes, &bitmap, &counts)) return NULL;
    const char *wrong = NULL;
    unsigned mask = 0;
    if (bits < 3 || bits > 32 || bitmap.len != (Py_ssize_t)(1ULL << (bits - 3)) || counts.len != 1 << 24) wrong = "bitmap or counts of the wrong size";
    else {
        Py_BEGIN_ALLOW_THREADS
        u8 *count = counts.buf, *map = bitmap.buf;
        for (int pass = 0; pass < 2 && !wrong; pass++) {
            const u8 *p = pieces.buf, *stop = p + pieces.len;
            for (Py_ssize_t i = 0; i < hashes.len / 8; i++) {
                const u8 *line = p < stop ? memchr(p, '\n', (size_t)(stop - p)) : NULL;
                if (!line || line - p < 3) { wrong = "a piece of fewer than 3 characters, or too few pieces"; break; }
                size_t n = (size_t)(line - p), best = 0;
                unsigned length = n >= 8 ? 8 : n >= 6 ? 6 : n >= 4 ? 4 : 3, least = 256;
                for (size_t k = 0; k + length <= n; k++) {
                    u32 place = gram_place(gram_text(p + k, length), length, 24);
                    if (pass == 0) count[place] += count[place] < 255;
                    else if (count[place] < least) { least = count[place]; best = k; }
                }
                if (pass) {
                    u32 place = gram_place(gram_text(p + best, length), length, (unsigned)bits);
                    map[place >> 3] |= (u8)(1 << (place & 7));
                    mask |= 1u << length;
                    store8((u8 *)hashes.buf + 8 * i, hash_bytes(p + best, length, FOLD, seed, TAG_GRAM));
                }
                p = line + 1;
            }
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&pieces); PyBuffer_Release(&hashes); PyBuffer_Release(&bitmap); PyBuffer_Release(&counts);
    if (wrong) { PyErr_SetString(PyExc_ValueError, wrong); return NULL; }
    return PyLong_FromUnsignedLong(mask);
}

/* Pairs (hash, payload) sorted by hash: 8 passes of counting, skipping bytes that are all alike. */
static void sort_pairs(u64 *pairs, u64 *other, size_t n) {
    for (int shift = 0; shift < 64; shift += 8) {
        size_t counts[257] = {0};
        for (size_t i = 0; i < n; i++) counts[(pairs[2 * i] >> shift & 255) + 1]++;
        for (int b = 0; b < 256; b++) counts[b + 1] += counts[b];
        for (size_t i = 0; i < n; i++) {
            size_t to = counts[pairs[2 * i] >> shift & 255]++;
            other[2 * to] = pairs[2 * i];
            other[2 * to + 1] = pairs[2 * i + 1];
        }
        u64 *swap = pairs; pairs = other; other = swap;
    }
}

/* fill(pairs, spare, bloom, slots, groups) -> words of groups used. A slot is mark << 32 | payload; a payload
 * with its highest bit set names a group: a count and as many payloads. */
static PyObject *fill(PyObject *self, PyObject *args) {
    Py_buffer pairs, spare, bloom, slots, groups;
    (void)self;
    if (!PyArg_ParseTuple(args, "w*w*w*w*w*", &pairs, &spare, &bloom, &slots, &groups)) return NULL;
    size_t n = (size_t)pairs.len / 16, used = 0;
    u64 words = (u64)bloom.len / 8, count = (u64)slots.len / 8;
    const char *wrong = NULL;
    if (spare.len != pairs.len || !words || count <= n || (n && ((uintptr_t)pairs.buf % 8 || (uintptr_t)spare.buf % 8))) wrong = "buffers of the wrong size";
    else {
        Py_BEGIN_ALLOW_THREADS
        u64 *sorted = pairs.buf;
        u8 *bits = bloom.buf, *table = slots.buf;
        u32 *out = groups.buf;
        size_t room = (size_t)groups.len / 4;
        sort_pairs(sorted, spare.buf, n); /* an even number of passes: sorted stands in pairs */
        for (size_t i = 0; i < n;) {
            u64 hash = sorted[2 * i];
            size_t to = i + 1;
            while (to < n && sorted[2 * to] == hash) to++;
            u32 payload = (u32)sorted[2 * i + 1];
            if (to - i > 1) {
                if (room - used < to - i + 1 || used >= 0x7FFFFFFF) { wrong = "groups are too small"; break; }
                payload = 0x80000000u | (u32)used;
                out[used++] = (u32)(to - i);
                for (size_t k = i; k < to; k++) out[used++] = (u32)sorted[2 * k + 1];
            }
            u8 *word = bits + 8 * below(hash, words);
            store8(word, load8(word) | bloom_bits(hash));
            u64 place = below(hash, count), slot = (hash & 0xFFFFFFFFu) << 32 | payload;
            while (load8(table + 8 * place)) if (++place == count) place = 0;
            store8(table + 8 * place, slot);
            i = to;
        }
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&pairs); PyBuffer_Release(&spare); PyBuffer_Release(&bloom); PyBuffer_Release(&slots); PyBuffer_Release(&groups);
    if (wrong) { PyErr_SetString(PyExc_ValueError, wrong); return NULL; }
    return PyLong_FromSize_t(used);
}

static PyMethodDef methods[] = {
    {"scan", scan, METH_VARARGS, NULL},
    {"scan_values", scan_values, METH_VARARGS, NULL},
    {"count_lines", count_lines, METH_VARARGS, NULL},
    {"hash_of", hash_of, METH_VARARGS, NULL},
    {"net_of", net_of, METH_VARARGS, NULL},
    {"records", records, METH_VARARGS, NULL},
    {"grams", grams, METH_VARARGS, NULL},
    {"fill", fill, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int set_up(PyObject *module) {
    return PyModule_AddStringConstant(module, "PATH", PATH_NAME) ||
           PyModule_AddIntConstant(module, "SLACK", SLACK);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, set_up}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, 0, methods, module_slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModuleDef_Init(&definition); }
