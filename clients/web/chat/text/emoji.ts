/** The emoji that people in work and family chats use most, with the words to find them by. A list of our own: a complete one
 * would weigh more than the rest of the page. */

const LIST = `
smileys 表情
😀 grin happy 笑|😃 smile happy 开心|😄 laugh happy 大笑|😁 beam grin 露齿|😆 laugh squint 哈哈|😅 sweat relief 汗|🤣 rofl laugh 笑翻|😂 joy tears 笑哭|🙂 slight smile 微笑|🙃 upside down 倒|😉 wink 眨眼|😊 blush shy 害羞|😇 angel halo 天使|🥰 love hearts 喜爱|😍 heart eyes love 色|😘 kiss 亲|😋 yum tasty 好吃|😛 tongue 吐舌|😜 wink tongue 调皮|🤪 zany crazy 疯|🤗 hug 拥抱|🤭 giggle oops 偷笑|🤫 shush quiet 嘘|🤔 think hmm 思考|🤨 eyebrow doubt 怀疑|😐 neutral 面无表情|😶 silent 无语|😏 smirk 得意|😒 unamused 不高兴|🙄 eye roll 白眼|😬 grimace awkward 尴尬|😌 relieved calm 松口气|😔 pensive sad 失落|😪 sleepy 困|😴 sleep zzz 睡觉|😷 mask ill 口罩|🤒 ill fever 生病|🤕 hurt 受伤|🤯 mind blown 震惊|🥳 party celebrate 庆祝|😎 cool sunglasses 酷|🤓 nerd 书呆子|🧐 monocle inspect 审视|😕 confused 困惑|😟 worried 担心|🙁 frown sad 难过|😮 open mouth wow 哇|😳 flushed 脸红|🥺 pleading please 求|😢 cry sad 哭|😭 sob cry 大哭|😤 huff 生气|😠 angry 愤怒|😡 rage 暴怒|😱 scream fear 惊恐|😨 fear 害怕|😰 anxious 冷汗|😥 sad relieved 失望|🤥 liar 说谎|🫠 melt 融化|🫡 salute 敬礼|🤖 robot bot 机器人|👻 ghost 鬼|💀 skull dead 骷髅|💩 poop 便便
people 人物
👍 thumbs up yes good 赞|👎 thumbs down no 踩|👌 ok 好的|✌️ victory peace 胜利|🤞 fingers crossed luck 好运|🤟 love you 爱你|🤘 rock 摇滚|👏 clap applause 鼓掌|🙌 hooray raise 欢呼|🫶 heart hands 比心|🙏 please thanks pray 拜托 谢谢|🤝 handshake deal 握手|👋 wave hello bye 挥手 你好|✋ hand stop 停|👊 fist bump 拳|💪 strong muscle 加油|👀 eyes look 看|🧠 brain 脑|👉 right point 右|👈 left point 左|👆 up point 上|👇 down point 下|🤷 shrug 摊手|🤦 facepalm 捂脸|🙋 raise hand me 举手|🙇 bow sorry 鞠躬|🏃 run 跑|💃 dance 跳舞|🕺 dance 舞|👶 baby 宝宝|👨‍💻 developer coder 程序员|👩‍💻 developer coder 程序员|👩‍🔬 scientist 科学家|🧑‍🚀 astronaut 宇航员|👪 family 家人
hearts 爱心
❤️ heart love 红心|🧡 orange heart 橙心|💛 yellow heart 黄心|💚 green heart 绿心|💙 blue heart 蓝心|💜 purple heart 紫心|🖤 black heart 黑心|🤍 white heart 白心|💔 broken heart 心碎|💕 hearts love 爱|💖 sparkle heart 闪心|💯 hundred perfect 满分|💥 boom bang 爆|✨ sparkles shine 闪亮|🔥 fire hot 火|💫 dizzy star 晕|⭐ star 星|🌟 glowing star 亮星|⚡ lightning fast 闪电|💤 sleep zzz 睡
nature 自然
🐶 dog 狗|🐱 cat 猫|🐭 mouse 鼠|🐰 rabbit 兔|🦊 fox 狐狸|🐻 bear 熊|🐼 panda 熊猫|🐨 koala 考拉|🐯 tiger 虎|🦁 lion 狮|🐷 pig 猪|🐸 frog 青蛙|🐵 monkey 猴|🐔 chicken 鸡|🐧 penguin 企鹅|🦉 owl 猫头鹰|🐝 bee 蜜蜂|🐛 bug caterpillar 虫|🦋 butterfly 蝴蝶|🐢 turtle 龟|🐙 octopus 章鱼|🐳 whale 鲸|🌱 seedling 芽|🌳 tree 树|🌵 cactus 仙人掌|🌸 blossom 樱花|🌹 rose 玫瑰|🌻 sunflower 向日葵|🍀 clover luck 四叶草|🌍 earth world 地球|🌙 moon 月亮|☀️ sun 太阳|⛅ cloud 云|🌧️ rain 雨|❄️ snow 雪|🌈 rainbow 彩虹|🌊 wave sea 海浪
food 食物
🍎 apple 苹果|🍌 banana 香蕉|🍉 watermelon 西瓜|🍓 strawberry 草莓|🍋 lemon 柠檬|🥑 avocado 牛油果|🥕 carrot 胡萝卜|🌶️ chili hot 辣椒|🍞 bread 面包|🧀 cheese 奶酪|🍔 burger 汉堡|🍟 fries 薯条|🍕 pizza 披萨|🌮 taco 塔可|🍜 noodles 面条|🍚 rice 米饭|🍣 sushi 寿司|🥟 dumpling 饺子|🍦 ice cream 冰淇淋|🍩 donut 甜甜圈|🍪 cookie 饼干|🎂 cake birthday 蛋糕 生日|🍫 chocolate 巧克力|☕ coffee 咖啡|🍵 tea 茶|🧋 bubble tea 奶茶|🍺 beer 啤酒|🍻 cheers beers 干杯|🍷 wine 红酒|🥂 cheers toast 庆祝
things 物品
🎉 party tada congratulations 庆祝|🎊 confetti 彩带|🎁 gift present 礼物|🎈 balloon 气球|🏆 trophy win 奖杯|🥇 gold medal first 金牌|⚽ football soccer 足球|🏀 basketball 篮球|🎮 game 游戏|🎲 dice 骰子|🎵 music note 音乐|🎸 guitar 吉他|🎨 art paint 艺术|📷 camera photo 相机|🎬 film movie 电影|📱 phone 手机|💻 laptop computer 电脑|⌨️ keyboard 键盘|🖥️ desktop screen 屏幕|💾 save disk 保存|🔋 battery 电池|💡 idea light 主意|🔦 torch 手电|🔧 wrench fix 修理|🔨 hammer 锤子|⚙️ gear settings 设置|🧪 test tube 试验|🔬 microscope 显微镜|🚀 rocket launch ship 火箭|✈️ plane travel 飞机|🚗 car 汽车|🚲 bike 自行车|🚄 train 火车|🏠 home house 家|🏢 office 办公室|⏰ alarm clock 闹钟|⏳ hourglass wait 沙漏|📅 calendar date 日历|📌 pin 图钉|📎 paperclip attach 回形针|✏️ pencil write 铅笔|📝 memo note 笔记|📚 books 书|📦 package box 包裹|📈 chart up 上涨|📉 chart down 下跌|📊 bar chart 图表|🔍 search 搜索|🔒 lock 锁|🔑 key 钥匙|🔔 bell 铃|💰 money 钱|💳 card pay 卡|🛒 cart shop 购物|🗑️ trash delete 垃圾桶|✉️ mail letter 邮件
signs 符号
✅ check done yes 完成|☑️ check box 勾选|✔️ tick 对|❌ cross no wrong 错|❗ exclamation 感叹|❓ question 问号|⚠️ warning 警告|🚫 forbidden no 禁止|🛑 stop 停止|♻️ recycle 循环|➕ plus add 加|➖ minus 减|➡️ right arrow 右箭头|⬅️ left arrow 左箭头|⬆️ up arrow 上箭头|⬇️ down arrow 下箭头|🔄 refresh again 刷新|🆗 ok 可以|🆕 new 新|🔴 red circle 红|🟡 yellow circle 黄|🟢 green circle 绿|🔵 blue circle 蓝|⬛ black square 黑|⬜ white square 白|🏁 finish flag 终点|🚩 red flag 红旗|💬 speech comment 对话|💭 thought 想法
`

export interface Emoji {
  sign: string
  words: string
}

export interface EmojiGroup {
  en: string
  zh: string
  emoji: Emoji[]
}

export const GROUPS: EmojiGroup[] = []
const lines = LIST.trim().split("\n")
for (let at = 0; at < lines.length; at += 2) {
  const [en = "", zh = ""] = lines[at]!.split(" ")
  const emoji = lines[at + 1]!.split("|").map((item) => {
    const space = item.indexOf(" ")
    return { sign: item.slice(0, space), words: item.slice(space + 1) }
  })
  GROUPS.push({ en: en[0]!.toUpperCase() + en.slice(1), zh, emoji })
}

export function findEmoji(text: string): Emoji[] {
  const wanted = text.trim().toLowerCase()
  const all = GROUPS.flatMap((group) => group.emoji)
  const begins = all.filter((emoji) => emoji.words.split(" ").some((word) => word.startsWith(wanted)))
  return [...begins, ...all.filter((emoji) => !begins.includes(emoji) && emoji.words.includes(wanted))]
}

/** Up to three emoji and nothing else are shown large. */
export function isJumbo(text: string): boolean {
  if (text.length > 40) return false
  return /^(?:\p{Extended_Pictographic}\uFE0F?(?:\p{Emoji_Modifier})?(?:\u200D\p{Extended_Pictographic}\uFE0F?)*\s*){1,3}$/u.test(text)
}
