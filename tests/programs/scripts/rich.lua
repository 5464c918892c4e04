-- Lua: tables, strings, closures, coroutines, garbage collection, pipes.
local t = {}
for i = 1, 200000 do t[i] = { i, name = "n" .. i } end
local s = 0; for _, v in ipairs(t) do s = s + v[1] * #v.name end; print(s)
table.sort(t, function(a, b) return a.name < b.name end); print(t[1].name, t[#t].name)
local parts = {}; for i = 1, 100000 do parts[#parts + 1] = ("%d:%x"):format(i, i) end
local text = table.concat(parts, ","); print(#text, select(2, text:gsub("%d+:", "")), text:match("99999:(%x+)"))
local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i, ("x"):rep(i % 1000)) end end) end
local total = 0; for i, x in gen(50000) do total = total + #x end; print(total)
local cos = {}; for i = 1, 5000 do cos[i] = coroutine.create(function(a) local b = coroutine.yield(a + i); return a * b end) end
local z = 0; for i = 1, 5000 do z = z + select(2, coroutine.resume(cos[i], i)) end; for i = 1, 5000 do z = z + select(2, coroutine.resume(cos[i], 2)) end; print(z)
t = nil; collectgarbage(); collectgarbage("generational"); for i = 1, 100 do local junk = {}; for j = 1, 1000 do junk[j] = { j } end end; collectgarbage(); print("collected")
local weak = setmetatable({}, { __mode = "k" }); for i = 1, 1000 do weak[{}] = i end; collectgarbage(); print(next(weak))
local closed = 0; do for i = 1, 1000 do setmetatable({}, { __gc = function() closed = closed + 1 end }) end end; collectgarbage(); print(closed)
local p = io.popen("printf 'b\\na\\n' | sort"); print(p:read("a")); print(p:close()); print(os.execute("exit 4"))
local f = assert(io.open("file", "w")); for i = 1, 20000 do f:write(i, "\n") end; f:close(); local n = 0; for l in io.lines("file") do n = n + tonumber(l) end; print(n)
print((pcall(error, { code = 1 }))); print(select(2, pcall(function() local x = nil; return x.y end)))
print(pcall(string.rep, "x", 1 << 40)); local big = ("abc"):rep(10000000); print(#big); big = nil
print(load("return " .. ("("):rep(150) .. "1" .. (")"):rep(150))()); print(string.pack("<i4z", 7, "hi"):byte(1, -1)); print(utf8.char(8364), 7 // 2, 2 ^ 0.5, math.maxinteger)
