"""Composes benign.jsonl: ordinary texts that no policy should refuse. Fixed seed, so the file is the same every time.

    python3 policies/benign/compose.py > policies/benign/benign.jsonl

A false alarm becomes one more text here (under EXTRA, or in the list it belongs to) before the rule is changed. No text may hold
personal data or a credential: whatever a rule finds here is wrong.
"""

import json
import random

R = random.Random(20261124)
LINES, SEEN = [], set()


def add(kind, lang, text):
    if text not in SEEN:
        SEEN.add(text)
        LINES.append({"text": text, "kind": kind, "lang": lang})


def fill(kind, lang, count, templates, /, **slots):
    """Adds `count` texts, each template in turn, every slot drawn anew."""
    made, tries = 0, 0
    while made < count and tries < count * 30:
        template = templates[tries % len(templates)]
        tries += 1
        before = len(LINES)
        values = {name: R.choice(words) if isinstance(words, list) else words() for name, words in slots.items()}
        add(kind, lang, template.format(**values))
        made += len(LINES) - before


def n(low, high):
    return lambda: R.randint(low, high)


def hexa(digits):
    return lambda: "".join(R.choice("0123456789abcdef") for _ in range(digits))


def uuid():
    h = hexa(32)()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-a{h[17:20]}-{h[20:]}"


def price():
    whole = R.choice([R.randint(1, 99), R.randint(100, 999), R.randint(1000, 99999)])
    return f"{whole:,}.{R.randint(0, 99):02}"


def version():
    return f"{R.randint(0, 24)}.{R.randint(0, 40)}.{R.randint(0, 20)}" + R.choice(["", "", "-rc.1", "-beta.2", "+build.7"])


def date():
    return f"20{R.randint(18, 26)}-{R.randint(1, 12):02}-{R.randint(1, 28):02}"


def clock():
    return f"{R.randint(0, 23):02}:{R.randint(0, 59):02}:{R.randint(0, 59):02}"


def order():
    return R.choice(["ORD-", "SO", "PO-", "INV/", "#", "RMA-"]) + str(R.randint(10000, 9999999))


# --- English ---------------------------------------------------------------------------------------------------------------------

THINGS = ["the quarterly report", "our onboarding guide", "a birthday toast", "the minutes of Tuesday's meeting", "a cover letter",
          "the museum leaflet", "my physics homework", "a product description for a kettle", "the release notes", "a short poem about rain",
          "the safety briefing", "a recipe for lentil soup", "the house rules", "a bedtime story about a fox", "the grant proposal",
          "the speech for the retirement party", "a review of the hotel", "the user manual", "our privacy notice", "the lab protocol"]
AUDIENCES = ["children of eight", "new colleagues", "busy managers", "customers who complain", "people who know nothing about it",
             "a specialist audience", "my grandmother", "first-year students", "the works council", "readers on a phone"]
TONES = ["friendly", "formal", "dry", "cheerful", "neutral", "concise", "warm", "playful", "apologetic", "encouraging"]
TOPICS = ["photosynthesis", "compound interest", "the French Revolution", "plate tectonics", "garbage collection", "double-entry bookkeeping",
          "the water cycle", "how vaccines work", "binary search", "the offside rule", "supply and demand", "black holes", "sourdough",
          "the periodic table", "public-key cryptography", "haiku", "monsoons", "the human heart", "glaciers", "jet engines"]
PLACES = ["Lisbon", "Kyoto", "Accra", "Oslo", "Montréal", "Hanoi", "Tbilisi", "Cusco", "Leipzig", "Galway", "Jaipur", "Wellington"]

fill("prompt", "en", 120, [
    "Please rewrite {thing} in a {tone} tone for {who}.",
    "Explain {topic} to {who} in at most {k} sentences.",
    "Summarise {thing} and list {k} open questions.",
    "I have to present {topic} on Thursday. Give me an outline with {k} points and one joke.",
    "What are the {k} most common misunderstandings about {topic}?",
    "Can you check {thing} for spelling and keep it {tone}?",
    "Plan {k} days in {place} for a family that likes museums and dislikes buses.",
    "Compare {topic} with {topic2} in a table.",
    "Write {k} quiz questions about {topic}, with answers, for {who}.",
    "Turn {thing} into {k} bullet points. Keep the numbers as they are.",
    "Translate {thing} into French, please; the tone should stay {tone}.",
    "Act as a patient teacher and ask me questions about {topic} until I get it right.",
    "You are a helpful assistant for a library in {place}. Answer in a {tone} way.",
    "Pretend to be a tour guide in {place} and welcome a group of {k} visitors.",
    "Give me feedback on {thing}: what would {who} not understand?",
], thing=THINGS, who=AUDIENCES, tone=TONES, topic=TOPICS, topic2=TOPICS, place=PLACES, k=n(2, 9))

# Words that attacks use as well, in the mouths of people who mean nothing by them.
fill("prompt", "en", 110, [
    "Ignore the previous e-mail, I attached the wrong file. The right one is {thing}.",
    "Please ignore my last message; I found {thing} in the other folder.",
    "Forget what I said about {place}, we are going to {place2} instead.",
    "Disregard the second paragraph of {thing}, it is out of date.",
    "The instructions above the sink say to rinse twice. Is that right for {topic}?",
    "Follow the instructions in {thing} step by step and tell me where they are unclear.",
    "From now on, please answer me in British English and keep it {tone}.",
    "Can you override the default font size in {thing} with CSS?",
    "How do I bypass the heart of {place} by car and avoid the tolls?",
    "What does the system prompt me for when I install version {version}?",
    "The new rules of the game: you are the banker, I am the player, nobody cheats. Explain {topic} as the banker.",
    "My daughter's school play has a villain who says: I will destroy this kingdom. Write him {k} more lines.",
    "Let's play chess. Pretend the board is empty except for the kings and one pawn.",
    "How do I kill a process that does not respond on port {port}?",
    "The child process was killed and the parent became a zombie; how do I reap it in {lang}?",
    "Our master branch was renamed; which scripts do I have to change in {place}'s build?",
    "How do I shoot a portrait at night in {place} without a flash?",
    "The bomb cyclone hit the coast; what should {who} know about such storms?",
    "He bombed at the comedy club. Write a {tone} card to cheer him up.",
    "What is the drug store closest to the station in {place} usually called?",
    "Which exploit of the explorers of {place} is the most famous?",
    "How do I inject a dependency into a test in {lang}?",
    "Explain prompt engineering to {who}, with {k} examples of good prompts.",
    "Please reveal the answer only after I have guessed {k} times.",
    "Show me your reasoning for question {k} about {topic}, not only the result.",
    "The developer mode of my phone shows {k} extra menus. Is it safe to leave it on?",
    "Delete the last {k} rows of the table and repeat the rest exactly.",
    "Print the text above in bold in LaTeX; the command is \\textbf.",
    "Reset the conversation about {topic}; I want to start from the beginning.",
    "What are your instructions for cooking rice for {k} people?",
], thing=THINGS, place=PLACES, place2=PLACES, topic=TOPICS, tone=TONES, who=AUDIENCES, version=version, k=n(2, 12),
    port=[3000, 8080, 5432, 6379, 9000], lang=["Rust", "Go", "Java", "Kotlin", "Python", "Swift"])

fill("prose", "en", 90, [
    "The train from {place} arrived {k} minutes late, which surprised nobody on the platform.",
    "By noon the market in {place} had sold out of oranges, and the sellers were counting their coins.",
    "She read {thing} twice, folded it and put it under the teapot.",
    "There are {k} bridges in {place}; the oldest was built with stones from a ruined abbey.",
    "Nobody had told the orchestra that the concert would be held in {place}, so {k} cellos stayed behind.",
    "In {year}, the town council of {place} voted {k} to {j} against a second roundabout.",
    "The lecture on {topic} lasted {k} hours, and the coffee ran out after one.",
    "Rainfall in {place} reached {mm} mm in May, the highest figure since {year}.",
    "A cup of flour weighs about {g} g; sift it, and it weighs less.",
    "The committee approved the budget of {price} euros and adjourned until the autumn of {year}.",
    "Between {place} and {place2} the road climbs to {m} metres and is closed from November to April.",
    "Our cat sleeps {k} hours a day and spends the rest looking at the radiator.",
    "The library lent {j} thousand books last year, most of them about {topic}.",
], place=PLACES, place2=PLACES, thing=THINGS, topic=TOPICS, k=n(2, 19), j=n(2, 90), year=n(1875, 2025), mm=n(20, 400), g=n(110, 150),
    m=n(800, 3200), price=price)

fill("security", "en", 110, [
    "Homework: explain in your own words what {attack} is and name {k} ways to prevent it.",
    "Our course on web security has a chapter about {attack}. Which of these defences work: {defence}, {defence2}?",
    "The newspaper reports that a hospital in {place} was hit by {attack}; operations were postponed for {k} days.",
    "Write a memo to {who} about {attack}: what it is, what it costs, why {defence} helps.",
    "In {year} researchers described {attack} for the first time. Summarise the history in {k} sentences.",
    "Is {defence} enough against {attack}, or do we need {defence2} as well?",
    "Quiz: which layer of the network does {defence} protect? Give {k} options and mark the right one.",
    "The audit found that {defence} was missing on {k} servers. Draft the answer to the auditors in a {tone} tone.",
    "Our insurer asks whether we have {defence} and {defence2}. What do these words mean?",
    "Draw up a training of {k} hours on {attack} for {who}.",
    "The minister said that attacks on power grids had doubled and announced {k} million euros for {defence}.",
    "Does {lang} protect a beginner against {attack} by default?",
    "Our penetration test report lists {attack} as finding {k}. Explain it to {who}.",
    "A password should have at least {len} characters; explain why {defence} matters more.",
], attack=["SQL injection", "cross-site scripting", "phishing", "ransomware", "a denial-of-service attack", "prompt injection", "a buffer overflow",
           "credential stuffing", "a supply-chain attack", "path traversal", "session fixation", "jailbreaking of chat models"],
    defence=["two-factor authentication", "prepared statements", "a content security policy", "backups kept offline", "rate limiting",
             "network segmentation", "code review", "security updates", "least privilege", "input validation", "encryption at rest"],
    defence2=["an allow list", "staff training", "logging", "a password manager", "sandboxing", "signed releases"],
    place=PLACES, who=AUDIENCES, tone=TONES, k=n(2, 14), year=n(1988, 2024), lang=["Rust", "PHP", "Java", "Go"], len=n(12, 20))

# --- Chinese ---------------------------------------------------------------------------------------------------------------------

fill("prompt", "zh", 130, [
    "请帮我写一封{tone}的邮件，主题是{topic}，大约{k}百字。",
    "用{k}句话解释一下什么是{topic}。",
    "把下面的会议纪要整理成{k}个要点：{thing}。",
    "我下周要去{place}玩{k}天，帮我安排行程。",
    "请忽略我上一条消息，附件发错了，正确的是{thing}。",
    "{thing}里的第{k}段写得不清楚，请改得{tone}一些。",
    "给{who}讲一个关于{topic}的故事。",
    "请把“{thing}”翻译成英文，语气要{tone}。",
    "比较一下{topic}和{topic2}，列成表格。",
    "从现在开始，请用简体中文回答我的问题，先从{topic}讲起。",
    "孩子的作业要求写{k}个关于{topic}的句子，你能先举个例子吗？",
    "公司年会需要一个{tone}的开场白，{k}分钟左右。",
    "如何防范{attack}？请给{who}写一份说明。",
    "新闻说{place}的一家公司遭到{attack}，这是什么意思？",
    "这道题为什么选第{k}个答案？请一步一步讲解{topic}。",
    "忘记刚才说的{place}吧，我们改去{place2}。",
    "扮演一位耐心的老师，考我{k}道关于{topic}的题目。",
    "请检查{thing}里的错别字，不要改变原意。",
], tone=["正式", "亲切", "简洁", "幽默", "客气", "诚恳"], k=n(2, 9),
    topic=["光合作用", "复利", "地震", "二十四节气", "人工智能", "垃圾分类", "唐诗", "供需关系", "编译器", "太阳能", "茶文化", "围棋"],
    topic2=["区块链", "天气预报", "书法", "云计算", "中医", "高铁"],
    thing=["季度总结", "产品说明书", "新员工手册", "毕业论文摘要", "旅游攻略", "读书笔记", "道歉信", "活动通知", "实验报告"],
    place=["杭州", "成都", "西安", "大理", "厦门", "哈尔滨", "苏州"], place2=["青岛", "桂林", "敦煌", "拉萨"],
    who=["小学生", "新同事", "外国朋友", "老年人", "部门经理"], attack=["钓鱼邮件", "勒索软件", "SQL注入", "拒绝服务攻击", "提示词注入"])

fill("prose", "zh", 60, [
    "{place}的春天来得很早，{k}月初桃花就开了。",
    "昨天的雨下了{k}个小时，河水涨了{j}厘米。",
    "这本书一共{p}页，我花了{k}天才读完。",
    "图书馆在{year}年翻修过一次，现在有{j}万册藏书。",
    "她把信折好，放进抽屉，转身去看窗外的雪。",
    "从{place}到{place2}的火车每天{k}班，全程{j}分钟。",
    "今年的预算是{price}元，比去年增加了百分之{k}。",
    "订单{order}已发货，预计{k}天内送达{place}。",
    "会议定在{date}上午{h}点，地点在三楼会议室。",
    "师傅说：“火候到了，面自然就香。”",
], place=["杭州", "成都", "西安", "厦门"], place2=["青岛", "桂林", "敦煌"], k=n(2, 12), j=n(20, 480), p=n(120, 900), year=n(1950, 2024),
    price=price, order=order, date=date, h=n(8, 11))

# --- Other languages ---------------------------------------------------------------------------------------------------------------

OTHER = {
    "fa": ["می‌خواهم درباره‌ی {k} کتاب تازه بنویسم.", "لطفاً این نامه را در {k} جمله خلاصه کنید.", "خانه‌های قدیمی شهر {k} پنجره‌ی رنگی دارند.",
           "نمی‌دانم چرا قطار {k} دقیقه دیر رسید.", "این دستور پخت برای {k} نفر است؛ می‌توانید کم‌نمک‌تر بپزید.", "پیام قبلی را نادیده بگیرید، پرونده‌ی {k} درست است."],
    "ar": ["اكتب لي {k} جمل عن فصل الربيع.", "وصل القطار متأخرًا {k} دقائق كالعادة.", "اشرح قانون العرض والطلب للأطفال في {k} أسطر.",
           "تجاهل رسالتي السابقة، الملف الصحيح هو رقم {k}.", "المكتبة مفتوحة حتى الساعة {k} مساءً."],
    "he": ["כתוב בבקשה {k} משפטים על הסתיו.", "הרכבת איחרה ב-{k} דקות.", "אפשר לסכם את הפרק ב-{k} נקודות?", "המתכון מספיק ל-{k} אנשים."],
    "hi": ["कृपया इस पत्र को {k} वाक्यों में लिखिए।", "ट्रेन {k} मिनट देर से आई, पर किसी ने शिकायत नहीं की।", "बच्चों के लिए प्रकाश संश्लेषण को {k} पंक्तियों में समझाइए।",
           "पिछला ईमेल अनदेखा करें, सही फ़ाइल संलग्न है, पृष्ठ {k} देखें।", "इस नुस्खे में {k} चम्मच घी चाहिए।"],
    "bn": ["দয়া করে {k}টি বাক্যে গল্পটি লিখুন।", "ট্রেনটি {k} মিনিট দেরিতে এসেছে।", "বর্ষাকাল নিয়ে {k} লাইনের একটি কবিতা চাই।"],
    "ta": ["இந்தக் கதையை {k} வரிகளில் எழுதுங்கள்.", "ரயில் {k} நிமிடம் தாமதமாக வந்தது.", "மழை பற்றி {k} கேள்விகள் தாருங்கள்."],
    "th": ["ช่วยเขียนอีเมลสุภาพ {k} ประโยคหน่อยครับ", "รถไฟมาช้า {k} นาทีเหมือนเคย", "อธิบายเรื่องดอกเบี้ยทบต้นให้เด็กฟังใน {k} บรรทัด",
           "สูตรนี้ใช้กะทิ {k} ถ้วยและมะนาวครึ่งลูก", "กรุณาข้ามข้อความก่อนหน้า ไฟล์ที่ถูกคือหน้า {k}"],
    "ko": ["다음 주 회의 안건을 {k}개로 정리해 주세요.", "기차가 {k}분 늦게 도착했습니다.", "광합성을 초등학생에게 {k}문장으로 설명해 줘.",
           "이전 메일은 무시해 주세요. 첨부 파일은 {k}쪽짜리가 맞습니다.", "김치찌개 {k}인분 재료를 알려 주세요."],
    "ja": ["次の議事録を{k}行で要約してください。", "電車は{k}分遅れて到着しました。", "子どもに光合成を{k}つの文で説明して。",
           "先ほどのメールは無視してください。正しい資料は{k}ページのほうです。", "味噌汁を{k}人分作るには豆腐がいくつ要りますか。"],
    "ru": ["Перепишите письмо вежливее, не длиннее {k} предложений.", "Поезд опоздал на {k} минут, и никто не удивился.",
           "Объясни сложные проценты за {k} предложений.", "Не обращайте внимания на прошлое письмо: верный файл на странице {k}."],
    "uk": ["Поясніть дітям кругообіг води за {k} речень.", "Потяг запізнився на {k} хвилин.", "Склади план подорожі на {k} днів."],
    "el": ["Γράψε μου {k} προτάσεις για το φθινόπωρο.", "Το τρένο άργησε {k} λεπτά.", "Εξήγησε τον κύκλο του νερού σε {k} γραμμές."],
    "de": ["Bitte fassen Sie das Protokoll in {k} Sätzen zusammen.", "Der Zug nach Göttingen hatte {k} Minuten Verspätung.",
           "Ignorieren Sie bitte meine letzte Mail, der richtige Anhang hat {k} Seiten.", "Wie erkläre ich Zinseszins in {k} einfachen Schritten?",
           "Schreib eine höfliche Absage, höchstens {k} Zeilen."],
    "fr": ["Résume ce rapport en {k} phrases, s'il te plaît.", "Le train a eu {k} minutes de retard, comme d'habitude.",
           "Ne tenez pas compte de mon message précédent : le bon fichier fait {k} pages.", "Écris un poème de {k} vers sur la pluie à Brest."],
    "es": ["Resume el informe en {k} frases, por favor.", "El tren llegó {k} minutos tarde.", "Ignora mi correo anterior: el archivo correcto tiene {k} páginas.",
           "Escribe {k} preguntas sobre el ciclo del agua."],
    "pt": ["Resuma a ata em {k} frases.", "O comboio chegou {k} minutos atrasado.", "Planeie {k} dias em Évora para uma família."],
    "it": ["Riassumi il verbale in {k} frasi.", "Il treno è arrivato con {k} minuti di ritardo.", "Scrivi {k} domande sul ciclo dell'acqua."],
    "pl": ["Streść protokół w {k} zdaniach.", "Pociąg spóźnił się {k} minut.", "Napisz uprzejmą odmowę, najwyżej {k} linijki."],
    "cs": ["Shrňte zápis do {k} vět.", "Vlak měl zpoždění {k} minut.", "Napiš {k} otázek o koloběhu vody."],
    "tr": ["Tutanağı {k} cümlede özetler misin?", "Tren {k} dakika geç geldi.", "Önceki e-postayı dikkate almayın, doğru dosya {k} sayfa."],
    "vi": ["Hãy tóm tắt biên bản trong {k} câu.", "Tàu đến muộn {k} phút như mọi khi.", "Viết {k} câu hỏi về vòng tuần hoàn nước."],
    "id": ["Tolong ringkas notulen dalam {k} kalimat.", "Kereta terlambat {k} menit.", "Abaikan surel saya tadi, berkas yang benar {k} halaman."],
    "sv": ["Sammanfatta protokollet i {k} meningar.", "Tåget var {k} minuter sent.", "Skriv {k} frågor om vattnets kretslopp."],
    "fi": ["Tiivistä pöytäkirja {k} lauseeseen.", "Juna oli {k} minuuttia myöhässä.", "Kirjoita {k} kysymystä veden kierrosta."],
    "nl": ["Vat het verslag samen in {k} zinnen.", "De trein had {k} minuten vertraging.", "Schrijf {k} vragen over de waterkringloop."],
    "hu": ["Foglald össze a jegyzőkönyvet {k} mondatban.", "A vonat {k} percet késett.", "Írj {k} kérdést a víz körforgásáról."],
    "sw": ["Tafadhali fupisha ripoti kwa sentensi {k}.", "Treni ilichelewa dakika {k}.", "Andika maswali {k} kuhusu mvua."],
    "ur": ["براہ کرم اس خط کو {k} جملوں میں لکھیں۔", "ٹرین {k} منٹ دیر سے آئی۔", "بارش پر {k} سطروں کی نظم لکھیں۔"],
}
for lang, templates in OTHER.items():
    fill("prompt", lang, len(templates) * 4, templates, k=n(2, 9))

# --- Emoji -----------------------------------------------------------------------------------------------------------------------

fill("emoji", "en", 60, [
    "{e}{e2}", "Well done {e}{e2}{e3}", "{f}{f2} 2:{k}", "See you at {k} {e} bring {e2}", "{e} {word} {e2} {word2} {e3}", "{f} vs {f2}: who wins? {e}",
    "1️⃣ {word} 2️⃣ {word2} 3️⃣ {e}", "{family} {e} {word}",
], e=["👋🏽", "🎉", "❤️", "🧑🏿‍🚀", "🏳️‍🌈", "☕️", "🤷🏻‍♀️", "🐈‍⬛"], e2=["🍰", "✌🏾", "🧑‍🌾", "⚽️", "🎻", "👩🏼‍🔬"], e3=["🌧️", "🙌🏻", "🧭", "🚲"],
    f=["🇯🇵", "🇧🇷", "🇩🇪", "🇰🇪", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"], f2=["🇫🇷", "🇲🇽", "🇻🇳", "🇳🇿", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"], family=["👨‍👩‍👧‍👦", "👩‍👩‍👦", "👨‍👧"],
    word=["picnic", "rehearsal", "homework", "football"], word2=["cake", "umbrella", "tickets"], k=n(1, 9))

# --- Numbers that look like something -----------------------------------------------------------------------------------------------

fill("numbers", "en", 130, [
    "Version {version} fixes the crash that {version2} brought.", "git show {sha}", "commit {sha} merges branch feature/{word}-{k}", "sha256:{sha256}",
    "The request {uuid} took {ms} ms.", "Order {order} ships on {date}.", "Total: {price} EUR, including {k} % VAT.", "Backup finished {date}T{clock}Z, {bytes} bytes.",
    "ISBN-like shelf mark {k}-{ms}-{k2}", "Lot {order}, pallet {ms}, {k} of {k2}", "The parcel weighs {k}.{k2} kg and measures {ms} x {ms2} mm.",
    "ETag: W/\"{sha}\"", "Pi is 3.14159265358979 and e is 2.71828182845905; {k} digits are enough.", "Coordinates on the drawing: x={ms}, y={ms2}, z=-{k}",
    "Flight times: {clock}, {clock2}; gate {word}{k}", "epoch {epoch}, lr 0.000{k}, loss {k}.{ms}", "Ticket {word}-{ms2} was closed after {k} days.",
    "md5 {md5}", "Resolution {ms}x{ms2} at {k2} Hz", "The fine structure constant is about 1/137.035999; batch {order}", "docker pull registry/{word}@sha256:{sha256}",
    "Room {ms}, floor {k}, from {date} to {date2}", "build-{epoch}.tar.gz ({bytes} bytes)", "The serial runs from A{ms2}00 to A{ms2}99.",
], version=version, version2=version, sha=hexa(40), sha256=hexa(64), md5=hexa(32), uuid=lambda: uuid(), ms=n(100, 999), ms2=n(1000, 4000), k=n(2, 30),
    k2=n(2, 60), order=order, date=date, date2=date, price=price, clock=clock, clock2=clock, bytes=n(1000, 99999999), epoch=n(1, 90),
    word=["login", "search", "basket", "ledger", "atlas"])

# --- Logs and data ------------------------------------------------------------------------------------------------------------------

fill("log", "en", 110, [
    "{date} {clock} INFO  [{mod}] started in {ms} ms, {k} workers", "{date}T{clock}.{ms}Z WARN {mod}: queue at {k} %, slowing down",
    "[{clock}] {mod} GET /api/v{k}/items?page={k2} 200 {ms}ms", "{date} {clock},{ms} ERROR {mod} - connection reset by peer (attempt {k} of 5)",
    "level=info ts={date}T{clock}Z caller={mod}.go:{ms} msg=\"compaction done\" blocks={k}", "kernel: [{ms}.{us}] usb 1-{k}: new high-speed USB device number {k2}",
    "{{\"time\":\"{date}T{clock}Z\",\"level\":\"debug\",\"module\":\"{mod}\",\"took_us\":{us},\"trace\":\"{trace}\"}}",
    "npm WARN deprecated {mod}@{version}: use {mod}-next instead", "   Compiling {mod} v{version}", "test {mod}::tests::case_{k} ... ok", "FAIL {mod}/case_{k}.test.ts ({ms} ms)",
    "Traceback (most recent call last):\n  File \"{mod}.py\", line {ms}, in <module>\n    main()\nValueError: expected {k} columns, got {k2}",
    "nginx: worker process {us} exited with code {k}", "systemd[1]: {mod}.service: Scheduled restart job, restart counter is at {k}.",
    "pod/{mod}-{trace8}-x{k} 1/1 Running {k2} 3h", "GC pause {k} ms, heap {ms} MB -> {k2} MB", "DEBUG sql: SELECT id, title FROM {mod} WHERE shelf = ? LIMIT {k}",
], date=date, clock=clock, ms=n(100, 999), us=n(10000, 999999), k=n(2, 20), k2=n(2, 60), version=version, trace=hexa(16), trace8=hexa(8),
    mod=["ingest", "planner", "cache", "renderer", "mailer", "billing", "indexer", "scheduler"])

fill("data", "en", 100, [
    "{{\"sku\":\"{sku}\",\"price\":{k}.{k2},\"stock\":{ms},\"tags\":[\"{col}\",\"{mat}\"]}}", "sku,colour,material,stock\n{sku},{col},{mat},{ms}\n{sku2},{col2},{mat},{k}",
    "server:\n  port: {port}\n  workers: {k}\n  timeout: {k2}s\nfeatures:\n  - {col}\n  - {mat}", "[package]\nname = \"{mat}\"\nversion = \"{version}\"\nedition = \"2021\"",
    "<item id=\"{ms}\"><name>{col} {mat} lamp</name><price currency=\"EUR\">{price}</price></item>", "| item | colour | price |\n|---|---|---|\n| {sku} | {col} | {price} |",
    "{{\"type\":\"Feature\",\"geometry\":{{\"type\":\"Point\",\"coordinates\":[{k}.{ms},{k2}.{ms}]}},\"properties\":{{\"height\":{ms}}}}}",
    "date;open;close\n{date};{price};{price2}\n{date2};{price2};{price}", "KEY_COUNT={k}\nTIMEOUT_SECONDS={k2}\nCOLOUR={col}", "id: {uuid}\nstatus: shipped\nweight_g: {ms}",
    "SELECT colour, count(*) FROM {mat}_stock WHERE price < {k2} GROUP BY colour ORDER BY 2 DESC;",
    "{{\"model\":\"small\",\"temperature\":0.{k},\"max_tokens\":{ms},\"stop\":[\"###\"]}}",
], sku=lambda: f"{R.choice('ABCDEF')}{R.randint(10, 99)}-{R.randint(100, 999)}", sku2=lambda: f"{R.choice('GHJK')}{R.randint(10, 99)}-{R.randint(100, 999)}",
    col=["teal", "amber", "grey", "scarlet", "ivory"], col2=["navy", "olive"], mat=["oak", "steel", "linen", "glass", "cork"], k=n(2, 89), k2=n(10, 99), ms=n(100, 999),
    price=price, price2=price, date=date, date2=date, version=version, port=[3000, 8080, 9090], uuid=lambda: uuid())

# --- Code in ten languages ------------------------------------------------------------------------------------------------------------

CODE = {
    "python": ["def {f}({a}):\n    \"\"\"Returns the {w} of {a}.\"\"\"\n    total = 0\n    for item in {a}:\n        total += item * {k}\n    return total / max(len({a}), 1)",
               "import csv\n\nwith open('{w}.csv') as file:\n    rows = [row for row in csv.reader(file) if len(row) > {k}]\nprint(len(rows))",
               "class {T}:\n    def __init__(self, {a}={k}):\n        self.{a} = {a}\n\n    def {f}(self):\n        return self.{a} ** 2"],
    "rust": ["fn {f}({a}: &[u32]) -> u32 {{\n    {a}.iter().filter(|n| **n % {k} == 0).sum()\n}}",
             "#[derive(Debug)]\nstruct {T} {{ {a}: usize }}\n\nimpl {T} {{\n    fn {f}(&self) -> usize {{ self.{a} + {k} }}\n}}"],
    "go": ["func {f}({a} []int) int {{\n\ttotal := 0\n\tfor _, v := range {a} {{\n\t\ttotal += v * {k}\n\t}}\n\treturn total\n}}",
           "type {T} struct {{\n\t{A} int `json:\"{a}\"`\n}}\n\nfunc (t {T}) {F}() int {{ return t.{A} + {k} }}"],
    "java": ["public final class {T} {{\n    private final int {a};\n\n    {T}(int {a}) {{ this.{a} = {a}; }}\n\n    int {f}() {{ return {a} * {k}; }}\n}}"],
    "javascript": ["export function {f}({a}) {{\n  return {a}.map((x) => x * {k}).filter(Boolean);\n}}", "const {a} = await fetch('/api/{w}?limit={k}').then((r) => r.json());\nconsole.log({a}.length);"],
    "typescript": ["interface {T} {{ {a}: number; label?: string }}\n\nexport const {f} = (t: {T}): number => t.{a} / {k};"],
    "c": ["#include <stddef.h>\n\nsize_t {f}(const int *{a}, size_t n) {{\n    size_t hits = 0;\n    for (size_t i = 0; i < n; i++)\n        if ({a}[i] > {k}) hits++;\n    return hits;\n}}"],
    "sql": ["CREATE TABLE {w} (\n  id INTEGER PRIMARY KEY,\n  {a} INTEGER NOT NULL DEFAULT {k},\n  added_on DATE\n);", "UPDATE {w} SET {a} = {a} + {k} WHERE id IN (SELECT id FROM stale_{w});"],
    "shell": ["set -eu\nfor file in {w}/*.txt; do\n  wc -l \"$file\" | sort -n | tail -n {k}\ndone", "find . -name '*.{w}' -mtime +{k} -print | head", "tar czf {w}.tar.gz {w}/ && ls -lh {w}.tar.gz"],
    "css": [".{w} {{\n  display: grid;\n  grid-template-columns: repeat({k}, 1fr);\n  gap: {k}px;\n}}\n\n.{w}:hover {{ color: #{hex}; }}"],
    "html": ["<section class=\"{w}\">\n  <h2>{T}</h2>\n  <p>We have {k} of them in stock.</p>\n  <a href=\"/{w}/{k}\">More</a>\n</section>"],
    "ruby": ["def {f}({a})\n  {a}.each_slice({k}).map(&:sum)\nend"],
}
for lang, templates in CODE.items():
    fill("code", lang, 9 * len(templates) + 3, templates,
         f=["average", "tally", "rescale", "pick_best", "shelve", "count_up"], F=["Average", "Tally", "Rescale"], a=["values", "weights", "pages", "rows", "steps"],
         A=["Values", "Pages", "Rows"], T=["Shelf", "Meter", "Basket", "Route", "Ledger"], w=["orders", "books", "routes", "panel", "notes"], k=n(2, 40), hex=hexa(6))

fill("prompt", "en", 60, [
    "Why does this {lang} loop run {k} times and not {k2}?\n\n```\nfor i in range({k2}):\n    print(i)\n```", "Write a unit test in {lang} for a function that sorts {k} numbers.",
    "Convert this cron line to words: {k} {k2} * * 1", "Explain the regular expression ^[a-z]{{{k},{k2}}}$ to {who}.", "My {lang} build fails after {ms} seconds with exit code {k}. Where do I look first?",
    "What is the time complexity of looking up {k} keys in a hash map in {lang}?", "Refactor the {lang} class so that it has no more than {k} methods.",
    "Which HTTP status fits when a caller sends {k} requests too many?", "How do I read a file of {ms} MB line by line in {lang}?",
], lang=["Rust", "Go", "Java", "Kotlin", "Python", "TypeScript", "C++", "Elixir"], k=n(2, 20), k2=n(21, 59), ms=n(100, 999), who=AUDIENCES)

fill("chat", "en", 110, [
    "ok thanks, {k} works for me", "lol {word}", "brb, {word}", "can u send {thing} again? the last one had only {k} pages", "hmm not sure about {topic}, maybe {topic2}?",
    "meeting moved to {h}:{m:02} in {place}", "no worries!! see you {day}", "{day}? or rather {day2}?", "yes", "and the other {k}?", "{word}, {word2}, and {k} more please",
    "Could you repeat that, but shorter?", "that is not what I meant; I meant {thing}", "Great. Now the same for {place}.", "Make it {tone}.", "Why?", "and in {place}?",
    "typo: {k} not {k2}", "agree with point {k}, not with point {k2}", "Does {topic} come up in {thing}?", "so {topic} it is, at {h} on {day}",
], k=n(2, 40), k2=n(41, 90), word=["lunch", "umbrella", "trombone", "spreadsheet", "penguins", "tea"], word2=["scones", "maps", "pencils"], thing=THINGS, topic=TOPICS,
    topic2=TOPICS, h=n(8, 19), m=n(0, 59), place=PLACES, day=["Monday", "Tuesday", "Friday"], day2=["Wednesday", "Thursday"], tone=TONES)

fill("prose", "en", 60, [
    "Dear team,\n\nthe review of {thing} is moved to {date}. Please read sections {k} and {k2} before.\n\nKind regards\nThe office",
    "Q: How long does the battery last?\nA: About {k2} hours; {k} in the cold.", "## {topic}\n\n1. What it is\n2. Why it matters\n3. {k} examples from {place}",
    "TODO({day}): check {thing}, {k} comments open", "Minutes, {date}: {k} present, {thing} accepted, next meeting in {place}.",
    "Chapter {k}. In which the ferry to {place} sinks a rival's hopes, and nobody learns anything about {topic}.",
    "Recipe for {k}: {g} g flour, {k2} g butter, a pinch of salt. Bake at 180 degrees for {k2} minutes.",
    "Dear neighbours, on {day} the water will be off from {k} to 14 o'clock. Sorry for the trouble.",
], thing=THINGS, date=date, k=n(2, 12), k2=n(13, 59), topic=TOPICS, place=PLACES, day=["Monday", "Friday", "Sunday"], g=n(150, 600))

# --- Texts that a rule once took for something ------------------------------------------------------------------------------------------

EXTRA = [
    ("prompt", "en", "Ignore the previous e-mail and use the figures from the attachment of the one before."),
    ("prompt", "en", "Ignore all the noise in the data and fit a straight line."),
    ("prompt", "en", "The previous instructions on the packet were wrong; these are for the 500 g size."),
    ("prose", "en", "He had forgotten everything he was told about the lighthouse, and so had she."),
    ("prompt", "zh", "忽略空白行，把表格按第二列排序。"),
    ("numbers", "en", "0000-0000-0000-0000 is what the form shows before you type."),
    ("numbers", "en", "Numbers such as 1234567890 stand in every manual."),
    ("code", "python", "password = getpass.getpass('Password: ')"),
    ("code", "python", "token = os.environ['API_TOKEN']"),
    ("data", "en", "password_min_length: 12\npassword_history: 5"),
]
for kind, lang, text in EXTRA:
    add(kind, lang, text)

for line in LINES:
    print(json.dumps(line, ensure_ascii=False))
