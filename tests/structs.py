# SPDX-License-Identifier: MIT
"""The structures of ours, as the C headers have them."""

import pathlib
import re
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Struct:
    """A structure of fixed size as a header of ours has it, all of its fields by name: those of an ImageTable `x` are
    x_offset and x_size, those of an ImageString x_offset and x_length."""

    SIMPLE = {"uint8_t": "B", "uint16_t": "H", "uint32_t": "I", "int32_t": "i", "uint64_t": "Q"}
    PARTS = {"ImageTable": [("offset", "Q"), ("size", "Q")], "ImageString": [("offset", "I"), ("length", "I")]}

    def __init__(self, header, name):
        text = (ROOT / header).read_text()
        body = re.search(rf"typedef struct {name} {{(.*?)\n}} {name};", text, re.S)[1]
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.S).replace("_Atomic ", "")
        self.form, self.names, self.end = "<", [], None
        for kind, names in re.findall(r"(\w+) ([^;]+);", body):
            for declared in names.split(","):
                self.add(kind, *re.fullmatch(r"(\w+)(?:\[(.*)\])?", declared.strip()).groups())
        self.size = struct.calcsize(self.form)

    def add(self, kind, name, count):
        if count == "":  # a flexible member: where it begins is what matters
            return
        if count or kind == "pthread_mutex_t":
            self.form += f"{self.number(count) if count else 40}s"
            self.names.append(name)
            return
        for part, letter in self.PARTS.get(kind) or [("", self.SIMPLE[kind])]:
            self.form += letter
            self.names.append(f"{name}_{part}" if part else name)

    @staticmethod
    def number(text):
        return int(text) if text.isdigit() else {"ROOT_OPTIONS_MAX + 1": constant("daemon/root.h", "ROOT_OPTIONS_MAX") + 1}[text]

    def pack(self, **values):
        record = dict.fromkeys(self.names, 0)
        for name, letter in zip(self.names, re.findall(r"\d+s|\w", self.form)):
            if letter.endswith("s"):
                record[name] = b""
        assert values.keys() <= record.keys(), values.keys() - record.keys()
        return struct.pack(self.form, *(record | values).values())

    def letters(self):
        return dict(zip(self.names, re.findall(r"\d+s|\w", self.form)))


def constant(header, name):
    return int(re.search(rf"#define {name} (\d+)u?\b", (ROOT / header).read_text())[1])
