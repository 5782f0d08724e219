#!/usr/bin/env python3
"""The corpus of the tokenizer tests and its reference token ids.

    make_tokens.py SmolLM2-135M-Instruct.Q4_1.gguf gemma-3-270m-q4_k_m.gguf

Writes data/corpus.bin and data/*.ids (README.md says what is in them). The corpus is drawn with a fixed seed from the lists below, from
Unicode blocks and from the first file's vocabulary. On every line of valid UTF-8 the library and the plain implementation
of tokenizer_reference.py must agree, or nothing is written. Characters whose class (letter, number, punctuation, space) is not
the same in Unicode 3.2 and today are left out, so that the version of a Unicode table does not matter.
"""
import os
import random
import struct
import sys
import unicodedata

import golden_format
import reference
import tokenizer_reference as ref

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
N_SUBSET_STEP = 5

WORDS = {
    "en": "the river house quickly don't it's we'll they've I'd you're light never between thought world Can't O'Neil",
    "de": "der Fluss Straße über Mädchen größer Übung nicht warum Zusammenhang Geschwindigkeitsbegrenzung schön daß Äpfel",
    "fr": "l'été où garçon déjà œuvre aujourd'hui forêt être naïve cœur peut-être qu'il français Noël",
    "es": "mañana corazón ¿dónde? también año niño ¡hola! pingüino camino después ciudad",
    "pt": "coração não maçã avião português saudade também você amanhã órgão",
    "it": "perché città più virtù ragazzo dell'acqua così università gioventù",
    "pl": "źdźbło łódź często święty następny gęś żółw książka pięć",
    "cs": "příliš žluťoučký kůň úpěl ďábelské ódy řeka šťastný můžeš",
    "hu": "árvíztűrő tükörfúrógép őrült hűség ügyes gyönyörű",
    "tr": "İstanbul ışık güneş çocuk şehir ağaç öğrenci değil",
    "sv": "sjö älska grön människa åtta räksmörgås",
    "fi": "yötyö hääyö järvi äiti öljy pöytä kahdeksan",
    "vi": "tiếng Việt nước đường người không được những trường",
    "ro": "față învăța țară mâine și întâi",
    "ru": "привет мир человек дорога сегодня ещё объявление книга вечером Москва",
    "uk": "їжак ґанок місто сьогодні є людина щастя",
    "bg": "здравей българия утре щъркел",
    "el": "καλημέρα κόσμος θάλασσα άνθρωπος ήλιος ευχαριστώ ψυχή",
    "he": "שלום עולם תודה ספר מים אהבה",
    "ar": "السلام عليكم كتاب مدينة شمس اليوم مُحَمَّد جَمِيل",
    "fa": "سلام دنیا می‌خواهم کتاب پنجره",
    "hi": "नमस्ते दुनिया क्या हिन्दी पानी विद्यालय श्री",
    "bn": "নমস্কার পৃথিবী বাংলা জল আকাশ",
    "ta": "வணக்கம் உலகம் தமிழ் நீர்",
    "te": "నమస్కారం ప్రపంచం తెలుగు",
    "th": "สวัสดี โลก ภาษาไทย น้ำ ขอบคุณ",
    "ka": "გამარჯობა სამყარო წიგნი",
    "hy": "բարեւ աշխարհ գիրք",
    "ko": "안녕하세요 세계 한국어 물 감사합니다 고양이",
    "ja": "こんにちは 世界 日本語 カタカナ ひらがな 東京都 食べました ラーメン 、 。",
    "zh": "你好 世界 中文 图书馆 我们 今天天气很好 漢字 , 。 ?",
    "am": "ሰላም ዓለም አማርኛ",
    "sw": "habari dunia rafiki maji asubuhi",
    "id": "selamat pagi dunia terima kasih",
}
BLOCKS = [(0x21, 0x7E), (0xA1, 0x17F), (0x180, 0x24F), (0x250, 0x2AD), (0x370, 0x3CE), (0x400, 0x4F9), (0x531, 0x587), (0x5D0, 0x5EA),
          (0x621, 0x652), (0x660, 0x669), (0x905, 0x939), (0x966, 0x96F), (0x985, 0x9B9), (0xB85, 0xBB9), (0xE01, 0xE3A), (0xE50, 0xE59),
          (0x10D0, 0x10F0), (0x1100, 0x1159), (0x1200, 0x1248), (0x13A0, 0x13F4), (0x1680, 0x169C), (0x1780, 0x17B3), (0x1E00, 0x1EF9),
          (0x1F00, 0x1F15), (0x2010, 0x2046), (0x2070, 0x208E), (0x20A0, 0x20AF), (0x2100, 0x213A), (0x2153, 0x2183), (0x2190, 0x21FF),
          (0x2200, 0x22FF), (0x2460, 0x249B), (0x2500, 0x257F), (0x2600, 0x2613), (0x2776, 0x2793), (0x3041, 0x3094), (0x30A1, 0x30FA),
          (0x3105, 0x312C), (0x3220, 0x3243), (0x4E00, 0x9FA5), (0x3400, 0x4DB5), (0xA000, 0xA48C), (0xAC00, 0xD7A3), (0xF900, 0xFA2D),
          (0xFB50, 0xFBB1), (0xFF01, 0xFF5E), (0xFF61, 0xFFBE), (0x10300, 0x1031E), (0x10330, 0x1034A), (0x1D400, 0x1D454),
          (0x1D7CE, 0x1D7FF), (0x20000, 0x2A6D6), (0xE000, 0xE010), (0xFFFD, 0xFFFD)]
EMOJI = ("😀 😂 🥰 🤔 👍 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 🇯🇵 🇧🇷 ❤️ ✨ 🔥 🚀 🐍 🦀 🎉 ☕ ⚡ ✅ ❌ 1️⃣ #️⃣ 🧑‍💻 👩🏿‍🚒 🫠 🪐 🏴󠁧󠁢󠁥󠁮󠁧󠁿 © ™ ♻️ ☂ ♞ ⌚ ⏰ 🕵️‍♀️ 💯 🀄 🃏").split(" ")
SPACES = [" ", " ", " ", "\t", "\n", "\n\n", "\r\n", "\r", "\v", "\f", "\u00a0", "\u1680", "\u2002", "\u2009", "\u200a", "\u2028", "\u2029",
          "\u202f", "\u205f", "\u3000", "\u0085", "\u200b", "\u2060", "\ufeff", "\u001c"]
NAMES = "i n buf size count node tmp_value parseHeader MAX_LEN __init__ self $scope _x9 getElementById user2 Ünicode a1b2c3".split()
CODE = [
    "for (int {a} = 0; {a} < {n}; {a}++) {b}[{a}] += {a} * {n};", "\tif ({a} == NULL || {b}->{c} != {n}) {{\n\t\treturn -{n};\n\t}}",
    "def {a}({b}, *{c}, **kwargs):\n    return [{b} for {b} in {c} if {b} % {n} == 0]", "const {a} = async ({b}) => await {c}(`${{{b}}}`, {n});",
    "#define {a}({b}) ((({b}) << {n}) & 0x{n}FFu)", "SELECT {a}, COUNT(*) FROM {b} WHERE {c} >= {n} GROUP BY {a};",
    "fn {a}<'a, T: Clone>({b}: &'a mut [T]) -> Option<{n}u64> {{ None }}", "<div class=\"{a}\" id='{b}'>{c} &amp; {n}</div>",
    "{{\"{a}\": [{n}, -{n}.5e-3, null], \"{b}\": {{\"{c}\": true}}}}", "std::vector<std::pair<{a}, {b}>> {c}{{{n}}}; // don't",
    "    {a}: {b}   # {c}={n}", "$ git log --oneline -{n} | grep '{a}' > ./{b}/{c}.txt 2>&1", "{a}->{b}::{c}!=={n}??.{a}?.({b})", "\\frac{{{a}_{{{n}}}}}{{\\sqrt{{{b}}}}} \\leq {c}^{{{n}}}",
    "import {a}.{b} as {c}\n\n\n@{a}.{b}({n})\nclass {c}:\n        pass", "\\x{n}\\u00e9\\n\\t\"{a}\\\"{b}\\\\\" % ({c}, {n})",
]
MARKS = [*range(0x300, 0x330), 0x5B0, 0x5B4, 0x64B, 0x651, 0x93E, 0x94D, 0xE31, 0x20D0, 0x20E3, 0xFE0F, 0x200D, 0x3099]


def class_of(char, table):
    if ord(char) in ref.WHITE_SPACE:
        return "S"
    first = table.category(char)[0]
    return first if first in "LNP" else "O"


def stable(char):
    return class_of(char, unicodedata) == class_of(char, unicodedata.ucd_3_2_0)


class Lines:
    """Draws the lines: each draw_* returns the bytes of one."""

    def __init__(self, vocabulary, specials):
        self.rng = random.Random(20250101)
        self.specials = specials
        letters = {c: b for b, c in enumerate(ref.BYTE_LETTERS)}
        pieces = (bytes(letters[c] for c in t) for t, k in zip(vocabulary.tokens, vocabulary.types) if k == ref.NORMAL)
        self.pieces = []
        for p in pieces:
            try:
                self.pieces.append(p.decode())
            except UnicodeDecodeError:
                pass

    def word(self):
        return self.rng.choice(WORDS[self.rng.choice(list(WORDS))].split())

    def draw_sentence(self):
        r = self.rng
        words = WORDS[r.choice(list(WORDS))].split()
        joined = r.choice((" ", " ", " ", "", ", ", "-", "  ", ". ", "/"))
        return joined.join(r.choice(words) for _ in range(r.randint(2, 9))) + r.choice(("", ".", "!", "?", "...", " ", "\n", "。", "”"))

    def draw_mixed(self):
        r = self.rng
        return r.choice(("", " ")).join(self.word() for _ in range(r.randint(1, 7))) + str(r.randint(0, 99))

    def draw_pieces(self):
        r = self.rng
        return r.choice(("", "", " ", "'")).join(r.choice(self.pieces) for _ in range(r.randint(1, 9)))

    def draw_code(self):
        r = self.rng
        a, b, c = (r.choice(NAMES) for _ in range(3))
        return r.choice(("", "", "  ", "\t\t")) + r.choice(CODE).format(a=a, b=b, c=c, n=r.choice((0, 7, 16, 255, 1024, 65536)))

    def draw_emoji(self):
        r = self.rng
        return "".join(r.choice(EMOJI) + r.choice(("", "", " ", "a", " " + self.word(), "1", "!")) for _ in range(r.randint(1, 6)))

    def draw_marks(self):
        r = self.rng
        out = ""
        for _ in range(r.randint(2, 10)):
            out += r.choice(("a", "e", "o", "N", " ", "1", "क", "ا", "は", "")) + "".join(chr(r.choice(MARKS)) for _ in range(r.choice((0, 1, 1, 2, 4))))
        text = out + r.choice(("", self.word()))
        return r.choice((text, unicodedata.normalize("NFD", self.draw_sentence())))

    def draw_spaces(self):
        r = self.rng
        out = ""
        for _ in range(r.randint(1, 6)):
            out += r.choice(SPACES) * r.choice((1, 1, 2, 3, 4, 8, 17, 33)) if r.random() < 0.6 else r.choice(SPACES) + r.choice(SPACES)
            out += r.choice(("", "x", "7", ".", self.word(), "'s", "_"))
        return out

    def draw_numbers(self):
        r = self.rng
        forms = (lambda: str(r.randrange(10 ** r.randint(1, 18))), lambda: f"{r.random():.{r.randint(1, 9)}f}", lambda: f"{r.randrange(10 ** 9):,}",
                 lambda: f"0x{r.randrange(1 << 32):x}", lambda: f"{r.randint(1, 31)}.{r.randint(1, 12)}.{r.randint(1900, 2100)}",
                 lambda: f"{r.randint(0, 23)}:{r.randint(0, 59):02}", lambda: f"{r.random() * 1e6:e}", lambda: f"-{r.randint(1, 999)}%",
                 lambda: f"${r.randint(1, 9999)}.99", lambda: "".join(chr(r.choice((0x660, 0x966, 0xFF10, 0xE50)) + r.randint(0, 9)) for _ in range(4)),
                 lambda: r.choice("½ ² ³ ¼ Ⅳ Ⅻ ⅷ ① ⑳ 〇 一二三 10² x₂".split()), lambda: f"v{r.randint(0, 20)}.{r.randint(0, 99)}rc{r.randint(1, 9)}")
        return r.choice((" ", ", ", "", "\n", "+")).join(r.choice(forms)() for _ in range(r.randint(1, 5)))

    def draw_special(self):
        r = self.rng
        out = ""
        for _ in range(r.randint(1, 5)):
            token = r.choice(self.specials)
            out += r.choice((token, token, token[:-1], token[1:], token.upper(), " " + token + " "))
            out += r.choice(("", self.word(), "\n", " ", "user", "<", ">", "7"))
        return out

    def draw_unicode(self):
        r = self.rng
        low, high = r.choice(BLOCKS)
        out = ""
        while len(out) < r.randint(2, 16):
            if r.random() < 0.25:
                low, high = r.choice(BLOCKS)
            char = chr(r.randint(low, high))
            if stable(char):
                out += char + r.choice(("", "", "", " "))
        return out

    def draw_broken(self):
        r = self.rng
        data = bytearray(r.choice((self.draw_sentence, self.draw_mixed, self.draw_emoji, self.draw_unicode, self.draw_spaces))().encode())
        for _ in range(r.randint(1, 4)):
            at = r.randint(0, len(data))
            how = r.randint(0, 4)
            if how == 0:
                del data[at:at + 1]
            elif how == 1:
                data[at:at] = bytes(r.randrange(0x80, 0x100) for _ in range(r.randint(1, 4)))
            elif how == 2:
                data[at:at] = r.choice((b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff\xfe", b"\xf0\x9f\x98"))
            elif how == 3:
                data = data[:at]
            else:
                data[at:at + 1] = bytes([r.randrange(256)])
        return bytes(data)


COUNTS = {"sentence": 2300, "mixed": 800, "pieces": 1300, "code": 1300, "emoji": 700, "marks": 700, "spaces": 900, "numbers": 900,
          "special": 700, "unicode": 1100, "broken": 800}


def is_valid(data):
    try:
        data.decode()
        return True
    except UnicodeDecodeError:
        return False


def corpus_of(vocabulary, specials):
    draw, lines = Lines(vocabulary, specials), {}
    for b in range(256):
        lines[bytes([b])] = None
    for edge in (b"", b"  ", b"\n\n\n", b"a\0b", b"'", b"'S", b" 's", b"''ll", b"\xef\xbb\xbfBOM", b"a" * 300, b" " * 100, b"\n" * 70, b"\t" * 40, b"7" * 50):
        lines[edge] = None
    for kind, count in COUNTS.items():
        target = len(lines) + count
        while len(lines) < target:
            line = getattr(draw, "draw_" + kind)()
            if isinstance(line, str):
                if not all(map(stable, line)):
                    continue
                line = line.encode()
            if len(line) <= 300:
                lines[line] = None
    return list(lines)


def write_corpus(path, lines):
    with open(path, "wb") as f:
        f.write(b"SLCORP01" + struct.pack("<I", len(lines)))
        for line in lines:
            f.write(struct.pack("<I", len(line)) + line)


def write_ids(path, model_path, pre, id_bytes, records):
    """records: (line number, special, ids)."""
    with open(path, "wb") as f:
        f.write(b"SLTOKS01" + golden_format.sha256_of(model_path) + pre.encode().ljust(16, b"\0") + struct.pack("<2I", id_bytes, len(records)))
        for line, special, ids in records:
            f.write(struct.pack("<IHH", line, special, len(ids)) + struct.pack(f"<{len(ids)}{'H' if id_bytes == 2 else 'I'}", *ids))


def records_of(tokenizer, lines, step):
    out, wrong = [], []
    for number in range(0, len(lines), step):
        line, seen = lines[number], None
        for special in (True, False):
            ids = tokenizer.plain(line, special)
            if is_valid(line) and (by_library := tokenizer.by_library(line, special)) != ids:
                wrong.append((number, line, special, ids, by_library))
            if ids != seen:
                out.append((number, int(special), ids))
            seen = ids
    for number, line, special, ids, by_library in wrong[:20]:
        print(f"line {number} {line!r} special {special}\n  plain   {ids}\n  library {by_library}")
    if wrong:
        raise SystemExit(f"{len(wrong)} lines on which the library and the plain implementation differ")
    return out


def main():
    smollm2, gemma = sys.argv[1:3]
    g, h = reference.Gguf(smollm2), reference.Gguf(gemma)
    vocabulary = ref.Vocabulary(g)
    specials = [t for t, k in zip(vocabulary.tokens, vocabulary.types) if k == ref.CONTROL]
    specials += ["<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "[multimodal]", "<unused42>",
                 "<unused4242>", "<table>", "</h1>", "<code>", "<0x0A>", "<0xFF>", "<s>"]
    lines = corpus_of(vocabulary, specials)
    write_corpus(os.path.join(DATA, "corpus.bin"), lines)
    print(f"{len(lines)} lines, {sum(map(len, lines))} bytes, {sum(not is_valid(x) for x in lines)} with broken UTF-8")
    for name, path, file, pre, id_bytes, step in (
            ("smollm2", smollm2, g, "smollm", 2, 1), ("smollm2-default", smollm2, g, "default", 2, N_SUBSET_STEP),
            ("smollm2-gpt2", smollm2, g, "gpt-2", 2, N_SUBSET_STEP), ("gemma3", gemma, h, "default", 4, 1)):
        tokenizer = ref.Spm(file) if name == "gemma3" else ref.Bpe(file, pre)
        records = records_of(tokenizer, lines, step)
        write_ids(os.path.join(DATA, name + ".ids"), path, pre, id_bytes, records)
        size = os.path.getsize(os.path.join(DATA, name + ".ids"))
        print(f"{name}: {len(records)} records, {sum(len(r[2]) for r in records)} ids, {size} bytes", flush=True)


main()
