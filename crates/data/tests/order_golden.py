"""Makes the golden values of the test in src/order.rs with a ChaCha8 and a shuffle that share no code with it.

Run: python3 order_golden.py
"""

import struct

WORD = 0xFFFFFFFF


def block(key, counter, stream, rounds=8):
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key)]
    start += [counter & WORD, counter >> 32, stream & WORD, stream >> 32]
    x = start[:]

    def rotate(value, bits):
        return ((value << bits) | (value >> (32 - bits))) & WORD

    def quarter(a, b, c, d):
        for into, other, mixed, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[into] = (x[into] + x[other]) & WORD
            x[mixed] = rotate(x[mixed] ^ x[into], bits)

    for _ in range(rounds // 2):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return [(a + b) & WORD for a, b in zip(x, start)]


def words(seed, purpose, stream):
    key = struct.pack("<Q", seed) + bytes([purpose]) + bytes(23)
    counter = 0
    while True:
        yield from block(key, counter, stream)
        counter += 1


def permutation(seed, length, epoch):
    draw = words(seed, 1, epoch)
    order = list(range(length))
    for last in range(length - 1, 0, -1):
        bound = last + 1
        while True:
            product = (next(draw) | next(draw) << 32) * bound
            if product % 2**64 >= (2**64 - bound) % bound:
                break
        other = product >> 64
        order[last], order[other] = order[other], order[last]
    return order


print(permutation(7, 10, 0) + permutation(7, 10, 1))
flips = next(words(7, 2, 0))
print("".join(str(flips >> bit & 1) for bit in range(20)))
